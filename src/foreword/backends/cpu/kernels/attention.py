"""Attention over tiles of cached keys and values: each tile read once for all rows of a unit that share it.

Two functions. ``attend`` works through units: some rows of the batch and one segment of positions, for one key head. It
takes the unit's tiles in ascending order and keeps, for every row, the softmax so far: its largest score, the sum of
weights, the weighted values. ``merge`` then joins the segments of a row, ascending. Where a tile, a segment or a unit ends
depends on positions alone, a masked position weighs exactly 0, and every sum has one order (ir_builder.py), so what a row
gets depends on nothing but the row and its own keys and values.
"""

from collections.abc import Callable
from functools import partial

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.attention_floats import FloatProducts
from foreword.backends.cpu.kernels.attention_whole import WholeProducts
from foreword.backends.cpu.kernels.compiler import kernel_module
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, LANES, POINTER, Builder, int64, vector
from foreword.backends.cpu.kernels.signature import Fields, Signature
from foreword.backends.cpu.kernels.softmax import MERGE, NONE_YET, TILE, define_merge
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tile_products import TileProducts

HELD_ROWS = 48
"""Rows (of the batch, times query heads of a key head) whose scores are held at a time: a multiple of what is taken."""


PANELS = TILE // LANES
"""Of keys, and of values, in a tile."""
SCALES = 2 * LANES
"""That may lie behind a panel of keys."""
ATTEND = Signature(
    "attend",
    threads="counter",
    scratch="pointer",
    scratch_size="int",
    query="pointer",
    query_head="int",
    query_row="int",
    keys="pointer",
    keys_head="int",
    values="pointer",
    values_head="int",
    whole_panels="int",
    size="int",
    padded="int",
    group="int",
    key_heads="int",
    units="pointer",
    entries="pointer",
    rows="pointer",
    slots="pointer",
    states="int",
    first_segment="int",
    batch_rows="int",
    largest="pointer",
    sums="pointer",
    totals="pointer",
    window="int",
    scaling="float",
    softcap="float",
)
"""An item is a unit and a key head. ``threads`` counts those that have taken their part of the scratch memory; ``..._head``
and ``_row`` are strides; ``states`` are those of a key head; a softcap of 0 is none."""
UNIT = ("first_entry", "last_entry", "first_row", "last_row", "segment")
ENTRY = ("begin", "slots", "filled", "first_row", "rows", "oldest")
ROW = ("row", "position")


def scratch_size(size: int, padded: int) -> int:
    """float32 numbers that a thread needs: for the addresses of a tile's panels, for its keys and values, and for the
    queries, scores, values, bounds and states of the rows held."""
    return PANELS * (4 + SCALES) + TILE * (size + padded) + HELD_ROWS * (size + 1 + TILE + padded + 6)


@kernel_module(ATTEND, MERGE)
def attention_kernels(module: ir.Module, target: Target, dtype: torch.dtype) -> None:
    """For keys and values kept in ``dtype``."""
    _Attend(module, target, dtype).define()
    define_merge(module)


def _row_of(b: Builder, table: ir.Value, index: ir.Value, names: tuple[str, ...]) -> dict[str, ir.Value]:
    """One row of a table of int64, by its columns' names."""
    first = b.mul(index, int64(len(names)))
    return {name: b.load(table, b.add(first, int64(column)), INT64) for column, name in enumerate(names)}


def _seen_by(b: Builder, bounds: ir.Value, first: ir.Value, count: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The columns of a tile that some rows see: from where the first panel of them begins to where the last of them ends."""

    def widen(row: ir.Value, seen: list[ir.Value]) -> list[ir.Value]:
        low, high = (b.load(bounds, b.add(b.mul(row, int64(2)), int64(side)), INT64) for side in range(2))
        return [b.minimum_int(low, seen[0]), b.maximum_int(high, seen[1])]

    low, high = b.loop(first, b.add(first, count), 1, widen, [int64(TILE), int64(0)])
    return b.and_(low, int64(-LANES)), high


class _Attend:
    """Defines ``attend`` and the functions that it calls."""

    def __init__(self, module: ir.Module, target: Target, dtype: torch.dtype):
        self.module = module
        whole = dtype == torch.int8
        self.products: TileProducts = WholeProducts(module, target) if whole else FloatProducts(module, target, dtype)
        self.rows = self._define_rows()

    def _define_rows(self) -> ir.Function:
        """Some rows that are held, over one tile: scores, softmax, weighted values, some of them at a time.

        Arguments: how many, size, padded, the addresses of the tile's panels of keys and of values, then of the rows the
        queries [size], scores [TILE], values so far [padded], bounds [2] of int64 and states [2] (largest and sum of
        weights), and the soft cap.
        """
        products = self.products
        most, few = products.taken.rows[0], products.taken.few
        kinds = [INT64, INT64, INT64, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, FLOAT]
        b = Builder.of(self.module, "rows", kinds)
        count, size, padded, keys, values, queries, scores, outs, bounds, states, softcap = b.function.args

        def some(first: ir.Value, _: object) -> None:
            n = b.minimum_int(b.sub(count, first), int64(most))
            low, high = _seen_by(b, bounds, first, n)
            end = b.and_(b.add(high, int64(LANES - 1)), int64(-LANES))
            stride = b.add(size, int64(1))
            query, score = b.offset(queries, b.mul(first, stride)), b.offset(scores, b.mul(first, int64(TILE)))
            out = b.offset(outs, b.mul(first, padded))

            def score_panels(product: ir.Function, column: ir.Value) -> None:
                panels = b.offset(keys, b.sdiv(column, int64(LANES)), INT64)
                b.call(product, [n, query, stride, panels, int64(0), b.offset(score, column), int64(TILE), size])

            def weigh_panels(product: ir.Function, column: ir.Value) -> None:
                panels, offset = b.offset(values, b.sdiv(low, int64(LANES)), INT64), b.mul(column, int64(LANES))
                weights, depth = products.weights(b, score, low), products.columns(b, low, high, end)
                b.call(product, [n, weights, int64(TILE), panels, offset, b.offset(out, column), padded, depth])

            def one(row: ir.Value, _: object) -> None:
                bound, state = b.offset(bounds, b.mul(row, int64(2)), INT64), b.offset(states, b.mul(row, int64(2)))
                line, values_so_far = b.offset(scores, b.mul(row, int64(TILE))), b.offset(outs, b.mul(row, padded))
                scales = products.scales(b, keys, size)
                b.call(products.softmax, [line, bound, low, end, state, values_so_far, padded, softcap, *scales])

            def panels(
                begin: ir.Value, end: ir.Value, one: Callable[[ir.Value], None], two: Callable[[ir.Value], None]
            ) -> None:
                """Of few rows two at a time."""
                pairs = b.and_(b.sub(end, begin), int64(-2 * LANES))
                last = b.add(begin, b.select(b.icmp_signed("<=", n, int64(few)), pairs, int64(0)))
                b.loop(begin, last, 2 * LANES, lambda at, _: two(at))
                b.loop(last, end, LANES, lambda at, _: one(at))

            with b.if_then(b.icmp_signed("<", low, high)):
                panels(low, end, partial(score_panels, products.scores), partial(score_panels, products.pair_scores))
                b.loop(first, b.add(first, n), 1, one)
                panels(int64(0), padded, partial(weigh_panels, products.weigh), partial(weigh_panels, products.pair_weigh))

        b.loop(int64(0), count, most, some)
        b.ret_void()
        return b.function

    def define(self) -> None:
        with ATTEND.define(self.module) as (b, f):
            thread = b.atomic_rmw("add", f.threads, int64(1), "monotonic")
            held = self._held(b, f, b.offset(f.scratch, b.mul(thread, f.scratch_size)))

            def item(index: ir.Value) -> None:
                head = b.srem(index, f.key_heads)
                unit = _row_of(b, f.units, b.sdiv(index, f.key_heads), UNIT)
                segment = b.mul(b.sub(unit["segment"], f.first_segment), f.batch_rows)
                base = b.add(b.mul(head, f.states), segment)
                self._begin(b, f, b.add(base, unit["first_row"]), b.sub(unit["last_row"], unit["first_row"]))
                entry = partial(self._entry, b, f, held, head, base)
                b.loop(unit["first_entry"], unit["last_entry"], 1, lambda index, _: entry(index))

            b.parallel_for(f.taken, f.items, item)

    @staticmethod
    def _held(b: Builder, f: Fields, begin: ir.Value) -> dict[str, ir.Value]:
        """Where a thread holds a tile, and what belongs to the rows at hand."""
        sizes = {
            "keys": int64(2 * PANELS),
            "values": int64(2 * PANELS),
            "key_panels": b.add(b.mul(f.size, int64(TILE)), int64(PANELS * SCALES)),
            "value_panels": b.mul(f.padded, int64(TILE)),
            "queries": b.mul(b.add(f.size, int64(1)), int64(HELD_ROWS)),
            "scores": int64(HELD_ROWS * TILE),
            "outs": b.mul(f.padded, int64(HELD_ROWS)),
            "bounds": int64(4 * HELD_ROWS),
            "states": int64(2 * HELD_ROWS),
        }
        held = {}
        for name, size in sizes.items():
            held[name], begin = begin, b.offset(begin, size)
        return held

    @staticmethod
    def _begin(b: Builder, f: Fields, first: ir.Value, rows: ir.Value) -> None:
        """Rows that have seen nothing."""
        first, count = b.mul(first, f.group), b.mul(rows, f.group)
        last = b.add(first, count)
        b.loop(first, last, 1, lambda at, _: b.store(ir.Constant(FLOAT, NONE_YET), f.largest, at))
        b.loop(first, last, 1, lambda at, _: b.store(ir.Constant(FLOAT, 0.0), f.sums, at))
        begin, end = b.mul(first, f.padded), b.mul(last, f.padded)
        b.loop(begin, end, LANES, lambda at, _: b.store(vector(0.0), f.totals, at))

    def _entry(
        self, b: Builder, f: Fields, held: dict[str, ir.Value], head: ir.Value, base: ir.Value, index: ir.Value
    ) -> None:
        """One tile and the rows that read it, unless it lies behind the window of all of them."""
        entry = _row_of(b, f.entries, index, ENTRY)
        begin, filled = entry["begin"], entry["filled"]
        behind = b.sub(entry["oldest"], b.add(begin, b.sub(filled, int64(1))))
        with b.if_then(b.icmp_signed("<", behind, f.window)):
            self._find_panels(b, f, held, head, entry)
            products = b.mul(entry["rows"], f.group)
            b.loop(
                int64(0), products, HELD_ROWS, lambda first, _: self._hold(b, f, held, head, base, entry, first, products)
            )

    def _find_panels(
        self, b: Builder, f: Fields, held: dict[str, ir.Value], head: ir.Value, entry: dict[str, ir.Value]
    ) -> None:
        """Where the panels of a tile are: in memory where that is as they are needed, else they are gathered."""
        keys = b.offset(f.keys, b.mul(head, f.keys_head), self.products.kept)
        values = b.offset(f.values, b.mul(head, f.values_head), self.products.kept)
        slots = b.offset(f.slots, entry["slots"], INT32)

        def address(pointer: ir.Value, table: str, panel: ir.Value) -> None:
            b.store(b.ptrtoint(pointer, INT64), held[table], panel)

        def gathered(first: ir.Value, panel: ir.Value) -> None:
            of_keys = b.add(b.mul(f.size, int64(LANES)), int64(SCALES))
            key_panel = b.offset(held["key_panels"], b.mul(panel, of_keys))
            value_panel = b.offset(held["value_panels"], b.mul(first, f.padded))
            count = b.minimum_int(b.sub(entry["filled"], first), int64(LANES))
            of_panel = b.offset(slots, first, INT32)
            sizes = [count, f.whole_panels, f.size, f.padded]
            b.call(self.products.gather, [key_panel, value_panel, keys, values, of_panel, *sizes])
            address(key_panel, "keys", panel)
            address(value_panel, "values", panel)

        def one(first: ir.Value, _: object) -> None:
            panel = b.sdiv(first, int64(LANES))
            if not self.products.in_place:
                gathered(first, panel)
                return
            with b.if_else(b.icmp_signed("!=", f.whole_panels, int64(0))) as (then, otherwise):
                with then:
                    slot = b.sext(b.load(slots, first, INT32), INT64)
                    address(b.offset(keys, b.mul(slot, f.size)), "keys", panel)
                    address(b.offset(values, b.mul(slot, f.padded)), "values", panel)
                with otherwise:
                    gathered(first, panel)

        b.loop(int64(0), entry["filled"], LANES, one)

    def _hold(
        self,
        b: Builder,
        f: Fields,
        held: dict[str, ir.Value],
        head: ir.Value,
        base: ir.Value,
        entry: dict[str, ir.Value],
        first: ir.Value,
        products: ir.Value,
    ) -> None:
        """Some of a tile's rows: take in their queries and states, attend, and put the states back."""
        count = b.minimum_int(b.sub(products, first), int64(HELD_ROWS))
        states = held["states"]

        def place(index: ir.Value) -> tuple[ir.Value, ir.Value, dict[str, ir.Value]]:
            """Of a product's row: the state, the query head in the group, and the batch's row."""
            product = b.add(first, index)
            row = _row_of(b, f.rows, b.add(entry["first_row"], b.sdiv(product, f.group)), ROW)
            member = b.srem(product, f.group)
            return b.add(b.mul(b.add(base, row["row"]), f.group), member), member, row

        def take(index: ir.Value, _: object) -> None:
            state, member, row = place(index)
            at = b.add(b.mul(b.add(b.mul(head, f.group), member), f.query_head), b.mul(row["row"], f.query_row))
            query = b.offset(held["queries"], b.mul(index, b.add(f.size, int64(1))))
            self.products.take(b, b.offset(f.query, at), f.scaling, query, f.size)
            past = b.sub(row["position"], entry["begin"])
            low = b.maximum_int(b.sub(past, b.sub(f.window, int64(1))), int64(0))
            high = b.minimum_int(b.add(past, int64(1)), entry["filled"])
            bound, own = b.offset(held["bounds"], b.mul(index, int64(2)), INT64), b.offset(states, b.mul(index, int64(2)))
            b.store(low, bound, int64(0))
            b.store(high, bound, int64(1))
            b.store(b.load(f.largest, state), own, int64(0))
            b.store(b.load(f.sums, state), own, int64(1))
            so_far, out = b.offset(f.totals, b.mul(state, f.padded)), b.offset(held["outs"], b.mul(index, f.padded))
            b.vectors(f.padded, lambda at: b.store(b.load_vector(so_far, at), out, at))

        def give_back(index: ir.Value, _: object) -> None:
            state, _, _ = place(index)
            own = b.offset(states, b.mul(index, int64(2)))
            b.store(b.load(own, int64(0)), f.largest, state)
            b.store(b.load(own, int64(1)), f.sums, state)
            so_far, out = b.offset(f.totals, b.mul(state, f.padded)), b.offset(held["outs"], b.mul(index, f.padded))
            b.vectors(f.padded, lambda at: b.store(b.load_vector(out, at), so_far, at))

        b.loop(int64(0), count, 1, take)
        given = [held[name] for name in ("keys", "values", "queries", "scores", "outs", "bounds", "states")]
        b.call(self.rows, [count, f.size, f.padded, *given, f.softcap])
        b.loop(int64(0), count, 1, give_back)
