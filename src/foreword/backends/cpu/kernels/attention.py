"""Attention over tiles of cached keys and values: each tile read once for all rows of a unit that share it.

Two functions. ``attend`` works through units: some rows of the batch and one segment of positions, for one key head. It
takes the unit's tiles in ascending order and keeps, for every row, the softmax so far: its largest score, the sum of
weights, the weighted values. ``merge`` then joins the segments of a row, ascending. Where a tile, a segment or a unit ends
depends on positions alone, a masked position weighs exactly 0, and every sum has one order (ir_builder.py), so what a row
gets depends on nothing but the row and its own keys and values.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import kernel_module
from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT32,
    INT64,
    INT_VECTOR,
    LANES,
    POINTER,
    UNROLLED,
    VECTOR,
    Builder,
    begin_block,
    define_rows,
    int64,
    rows_of,
    vector,
)
from foreword.backends.cpu.kernels.kv_layout import define_gather, kept_as
from foreword.backends.cpu.kernels.signature import Fields, Signature
from foreword.backends.cpu.kernels.target import Target

TILE = 256
"""Positions of a tile."""
HELD_ROWS = 48
"""Rows (of the batch, times query heads of a key head) whose scores are held at a time: a multiple of what is taken."""


class Taken(NamedTuple):
    """How many rows are taken together, the most first, so that their sums stay in registers: with one panel, and with two,
    which up to ``few`` rows read, for two streams come from memory faster than one."""

    rows: tuple[int, ...]
    pair_rows: tuple[int, ...]
    few: int


SIXTEEN, THIRTY_TWO = Taken((6, 4, 2, 1), (2, 1), 4), Taken((12, 6, 4, 3, 2, 1), (6, 4, 3, 2, 1), 6)
"""For so many registers: of AVX2, and of AVX-512."""
PANELS = TILE // LANES
"""Of keys, and of values, in a tile."""
NONE_YET = -1e30
"""The largest score of a row that has seen nothing."""

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
MERGE = Signature(
    "merge",
    heads="int",
    group="int",
    value_size="int",
    padded="int",
    states="int",
    batch_rows="int",
    first_segment="int",
    last_segment="int",
    row_segments="pointer",
    largest="pointer",
    sums="pointer",
    totals="pointer",
    all_largest="pointer",
    all_sums="pointer",
    all_totals="pointer",
    out="pointer",
)
"""An item is a row of the batch."""
UNIT = ("first_entry", "last_entry", "first_row", "last_row", "segment")
ENTRY = ("begin", "slots", "filled", "first_row", "rows", "oldest")
ROW = ("row", "position")


def scratch_size(size: int, padded: int) -> int:
    """float32 numbers that a thread needs: for the addresses of a tile's panels, for its keys and values, and for the
    queries, scores, values, bounds and states of the rows held."""
    return 4 * PANELS + TILE * (size + padded) + HELD_ROWS * (size + TILE + padded + 6)


@kernel_module(ATTEND, MERGE)
def attention_kernels(module: ir.Module, target: Target, dtype: torch.dtype) -> None:
    """For keys and values kept in ``dtype``."""
    _Attend(module, target, dtype).define()
    _define_merge(module)


def _row_of(b: Builder, table: ir.Value, index: ir.Value, names: tuple[str, ...]) -> dict[str, ir.Value]:
    """One row of a table of int64, by its columns' names."""
    first = b.mul(index, int64(len(names)))
    return {name: b.load(table, b.add(first, int64(column)), INT64) for column, name in enumerate(names)}


def _panels(b: Builder, width: ir.Value, body: Callable[[ir.Value], None]) -> None:
    """For the beginning of each 16 of ``width``, which is a multiple of 16."""
    b.loop(int64(0), width, LANES, lambda at, _: body(at))


class _Attend:
    """Defines ``attend`` and the functions that it calls."""

    def __init__(self, module: ir.Module, target: Target, dtype: torch.dtype):
        self.module = module
        self.taken = taken = THIRTY_TWO if target.lanes == LANES else SIXTEEN
        self.kept = kept_as(dtype)
        self.gather = define_gather(module, self.kept)
        self.scores = define_rows(module, "scores", {n: _define_scores(module, n, 1) for n in taken.rows})
        self.pair_scores = define_rows(module, "pair_scores", {n: _define_scores(module, n, 2) for n in taken.pair_rows})
        self.weigh = define_rows(module, "weigh", {n: _define_weigh(module, n, 1) for n in taken.rows})
        self.pair_weigh = define_rows(module, "pair_weigh", {n: _define_weigh(module, n, 2) for n in taken.pair_rows})
        self.softmax = _define_softmax(module)
        self.rows = self._define_rows()

    def _define_rows(self) -> ir.Function:
        """Some rows that are held, over one tile: scores, softmax, weighted values, some of them at a time.

        Arguments: how many, size, padded, the addresses of the tile's panels of keys and of values, then of the rows the
        queries [size], scores [TILE], values so far [padded], bounds [2] of int64 and states [2] (largest and sum of
        weights), and the soft cap.
        """
        kinds = [INT64, INT64, INT64, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, FLOAT]
        b = Builder.of(self.module, "rows", kinds)
        count, size, padded, keys, values, queries, scores, outs, bounds, states, softcap = b.function.args

        def some(first: ir.Value, _: object) -> None:
            n = b.minimum_int(b.sub(count, first), int64(self.taken.rows[0]))

            def widen(row: ir.Value, seen: list[ir.Value]) -> list[ir.Value]:
                low = b.load(bounds, b.mul(row, int64(2)), INT64)
                high = b.load(bounds, b.add(b.mul(row, int64(2)), int64(1)), INT64)
                return [b.minimum_int(low, seen[0]), b.maximum_int(high, seen[1])]

            low, high = b.loop(first, b.add(first, n), 1, widen, [int64(TILE), int64(0)])
            low = b.and_(low, int64(-LANES))
            end = b.and_(b.add(high, int64(LANES - 1)), int64(-LANES))
            query, score = b.offset(queries, b.mul(first, size)), b.offset(scores, b.mul(first, int64(TILE)))
            out = b.offset(outs, b.mul(first, padded))

            def score_panels(product: ir.Function, column: ir.Value) -> None:
                panels = b.offset(keys, b.sdiv(column, int64(LANES)), INT64)
                b.call(product, [n, query, size, panels, int64(0), b.offset(score, column), int64(TILE), size])

            def weigh_panels(product: ir.Function, column: ir.Value) -> None:
                panels, offset = b.offset(values, b.sdiv(low, int64(LANES)), INT64), b.mul(column, int64(LANES))
                target, depth = b.offset(out, column), b.sub(high, low)
                b.call(product, [n, b.offset(score, low), int64(TILE), panels, offset, target, padded, depth])

            def one(row: ir.Value, _: object) -> None:
                bound, state = b.offset(bounds, b.mul(row, int64(2)), INT64), b.offset(states, b.mul(row, int64(2)))
                line, values_so_far = b.offset(scores, b.mul(row, int64(TILE))), b.offset(outs, b.mul(row, padded))
                b.call(self.softmax, [line, bound, low, end, state, values_so_far, padded, softcap])

            def panels(
                begin: ir.Value, end: ir.Value, one: Callable[[ir.Value], None], two: Callable[[ir.Value], None]
            ) -> None:
                """Of few rows two at a time."""
                pairs = b.and_(b.sub(end, begin), int64(-2 * LANES))
                last = b.add(begin, b.select(b.icmp_signed("<=", n, int64(self.taken.few)), pairs, int64(0)))
                b.loop(begin, last, 2 * LANES, lambda at, _: two(at))
                b.loop(last, end, LANES, lambda at, _: one(at))

            with b.if_then(b.icmp_signed("<", low, high)):
                panels(low, end, partial(score_panels, self.scores), partial(score_panels, self.pair_scores))
                b.loop(first, b.add(first, n), 1, one)
                panels(int64(0), padded, partial(weigh_panels, self.weigh), partial(weigh_panels, self.pair_weigh))

        b.loop(int64(0), count, self.taken.rows[0], some)
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
            "key_panels": b.mul(f.size, int64(TILE)),
            "value_panels": b.mul(f.padded, int64(TILE)),
            "queries": b.mul(f.size, int64(HELD_ROWS)),
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
        keys = b.offset(f.keys, b.mul(head, f.keys_head), self.kept)
        values = b.offset(f.values, b.mul(head, f.values_head), self.kept)
        slots = b.offset(f.slots, entry["slots"], INT32)

        def address(pointer: ir.Value, table: str, panel: ir.Value) -> None:
            b.store(b.ptrtoint(pointer, INT64), held[table], panel)

        def gathered(first: ir.Value, panel: ir.Value) -> None:
            key_panel = b.offset(held["key_panels"], b.mul(first, f.size))
            value_panel = b.offset(held["value_panels"], b.mul(first, f.padded))
            count = b.minimum_int(b.sub(entry["filled"], first), int64(LANES))
            of_panel = b.offset(slots, first, INT32)
            sizes = [count, f.whole_panels, f.size, f.padded]
            b.call(self.gather, [key_panel, value_panel, keys, values, of_panel, *sizes])
            address(key_panel, "keys", panel)
            address(value_panel, "values", panel)

        def one(first: ir.Value, _: object) -> None:
            panel = b.sdiv(first, int64(LANES))
            if self.kept is not FLOAT:
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
            source, target = b.offset(f.query, at), b.offset(held["queries"], b.mul(index, f.size))
            b.combine(b.fmul, source, f.scaling, target, f.size)
            past = b.sub(row["position"], entry["begin"])
            low = b.maximum_int(b.sub(past, b.sub(f.window, int64(1))), int64(0))
            high = b.minimum_int(b.add(past, int64(1)), entry["filled"])
            bound, own = b.offset(held["bounds"], b.mul(index, int64(2)), INT64), b.offset(states, b.mul(index, int64(2)))
            b.store(low, bound, int64(0))
            b.store(high, bound, int64(1))
            b.store(b.load(f.largest, state), own, int64(0))
            b.store(b.load(f.sums, state), own, int64(1))
            so_far, out = b.offset(f.totals, b.mul(state, f.padded)), b.offset(held["outs"], b.mul(index, f.padded))
            _panels(b, f.padded, lambda at: b.store(b.load_vector(so_far, at), out, at))

        def give_back(index: ir.Value, _: object) -> None:
            state, _, _ = place(index)
            own = b.offset(states, b.mul(index, int64(2)))
            b.store(b.load(own, int64(0)), f.largest, state)
            b.store(b.load(own, int64(1)), f.sums, state)
            so_far, out = b.offset(f.totals, b.mul(state, f.padded)), b.offset(held["outs"], b.mul(index, f.padded))
            _panels(b, f.padded, lambda at: b.store(b.load_vector(out, at), so_far, at))

        b.loop(int64(0), count, 1, take)
        given = [held[name] for name in ("keys", "values", "queries", "scores", "outs", "bounds", "states")]
        b.call(self.rows, [count, f.size, f.padded, *given, f.softcap])
        b.loop(int64(0), count, 1, give_back)


def _define_scores(module: ir.Module, rows: int, panels: int) -> ir.Function:
    """Queries of some rows times panels of keys, whose addresses are B."""
    b, (a, a_stride, table, _, c, c_stride, depth) = begin_block(module, f"scores{rows}x{panels}")
    rights = [b.inttoptr(b.load(table, int64(panel), INT64), POINTER) for panel in range(panels)]
    sums = b.multiply_accumulate(rows_of(b, a, a_stride, rows), rights, int64(LANES), depth, [vector(0.0)] * (rows * panels))
    for index, total in enumerate(sums):
        row, panel = divmod(index, panels)
        b.store(total, c, b.add(b.mul(c_stride, int64(row)), int64(panel * LANES)))
    b.ret_void()
    return b.function


def _define_weigh(module: ir.Module, rows: int, columns: int) -> ir.Function:
    """Weights of some rows times some columns of values, added to C: B is the addresses of panels, and where in them.

    One loop goes through all panels: of a loop within a loop, the compiler keeps no sums in registers.
    """
    b, (a, a_stride, table, offset, c, c_stride, depth) = begin_block(module, f"weigh{rows}x{columns}")
    lefts = rows_of(b, a, a_stride, rows)
    outs = [b.add(b.mul(c_stride, int64(row)), int64(column * LANES)) for row in range(rows) for column in range(columns)]

    def steps(first: ir.Value, sums: list[ir.Value], count: int) -> list[ir.Value]:
        """Of some positions that a panel has side by side."""
        panel = b.inttoptr(b.load(table, b.lshr(first, int64(LANES.bit_length() - 1)), INT64), POINTER)
        values = b.offset(panel, b.add(offset, b.mul(b.and_(first, int64(LANES - 1)), int64(LANES))))
        rights = [b.offset(values, int64(column * LANES * LANES)) for column in range(columns)]
        for step in range(count):
            sums = b.multiply_step(int64(step), [b.offset(left, first) for left in lefts], rights, int64(LANES), sums)
        return sums

    whole, sums = b.and_(depth, int64(-UNROLLED)), [b.load_vector(c, out) for out in outs]
    sums = b.loop(int64(0), whole, UNROLLED, partial(steps, count=UNROLLED), sums)
    sums = b.loop(whole, depth, 1, partial(steps, count=1), sums)
    for out, total in zip(outs, sums, strict=True):
        b.store(total, c, out)
    b.ret_void()
    return b.function


def _define_softmax(module: ir.Module) -> ir.Function:
    """Scores of one row in a tile → weights, 0 outside its bounds; its state and the values so far are scaled to match.

    Arguments: scores in logarithms to the base 2, bounds [2], the columns to go through (multiples of 16), state [2], values
    so far and their width, and the soft cap (0: none).
    """
    kinds = [POINTER, POINTER, INT64, INT64, POINTER, POINTER, INT64, FLOAT]
    b = Builder.of(module, "softmax", kinds)
    scores, bounds, begin, end, state, values, width, softcap = b.function.args
    first, last = (b.load(bounds, int64(side), INT64) for side in range(2))
    low, high = (b.splat(b.trunc(bound, INT32)) for bound in (first, last))
    inner = b.minimum_int(b.and_(b.add(first, int64(LANES - 1)), int64(-LANES)), end)
    outer = b.maximum_int(b.and_(last, int64(-LANES)), inner)
    columns = ir.Constant(INT_VECTOR, list(range(LANES)))

    def seen(column: ir.Value) -> ir.Value:
        place = b.add(columns, b.splat(b.trunc(column, INT32)))
        return b.and_(b.icmp_signed(">=", place, low), b.icmp_signed("<", place, high))

    with b.if_then(b.fcmp_ordered(">", softcap, ir.Constant(FLOAT, 0.0))):
        cap = b.splat(softcap)
        b.loop(
            begin,
            end,
            LANES,
            lambda at, _: b.store(b.fmul(_tanh(b, b.fdiv(b.load_vector(scores, at), cap)), cap), scores, at),
        )

    def columns_of(body: Callable[[ir.Value, list[ir.Value], bool], list[ir.Value]], carried: ir.Value) -> ir.Value:
        """Through all columns, those that are wholly within the bounds without looking at these."""
        for first, last, partly in ((begin, inner, True), (inner, outer, False), (outer, end, True)):
            carried = b.loop(first, last, LANES, partial(body, partly=partly), [carried])[0]
        return carried

    def largest(at: ir.Value, so_far: list[ir.Value], partly: bool) -> list[ir.Value]:
        numbers = b.load_vector(scores, at)
        return [b.maximum(b.select(seen(at), numbers, vector(NONE_YET)) if partly else numbers, so_far[0])]

    most = b.reduce(columns_of(largest, vector(NONE_YET)), b.maximum)
    before = b.load(state, int64(0))
    now = b.maximum(most, before)
    shift = b.splat(now)

    def weights(at: ir.Value, so_far: list[ir.Value], partly: bool) -> list[ir.Value]:
        weight = b.exp2(b.fsub(b.load_vector(scores, at), shift))
        weight = b.select(seen(at), weight, vector(0.0)) if partly else weight
        b.store(weight, scores, at)
        return [b.fadd(so_far[0], weight)]

    added = b.reduce(columns_of(weights, vector(0.0)), b.fadd)
    fade = b.exp2_scalar(b.fsub(before, now))
    b.store(now, state, int64(0))
    b.store(b.fadd(b.fmul(b.load(state, int64(1)), fade), added), state, int64(1))
    _panels(b, width, lambda at: b.store(b.fmul(b.load_vector(values, at), b.splat(fade)), values, at))
    b.ret_void()
    return b.function


def _tanh(b: Builder, x: ir.Value) -> ir.Value:
    """By e to the -2|x|."""
    size = b.call(b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR]), [x])
    small = b.exp(b.fmul(size, vector(-2.0)))
    result = b.fdiv(b.fsub(vector(1.0), small), b.fadd(vector(1.0), small))
    return b.call(b.intrinsic("llvm.copysign.v16f32", VECTOR, [VECTOR, VECTOR]), [result, x])


def _define_merge(module: ir.Module) -> None:
    """Join each row's segments to what ``all_...`` hold [rows, heads], ascending, and write the rows out."""
    with MERGE.define(module) as (b, f):

        def row(index: ir.Value) -> None:
            last = b.minimum_int(b.load(f.row_segments, index, INT64), f.last_segment)

            def head(number: ir.Value, _: object) -> None:
                place = b.add(b.mul(index, f.heads), number)
                total = b.offset(f.all_totals, b.mul(place, f.padded))
                key_head, member = b.sdiv(number, f.group), b.srem(number, f.group)

                def segment(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
                    state = b.add(b.mul(key_head, f.states), b.add(b.mul(b.sub(at, f.first_segment), f.batch_rows), index))
                    state = b.add(b.mul(state, f.group), member)
                    values = b.offset(f.totals, b.mul(state, f.padded))
                    other, other_sum = b.load(f.largest, state), b.load(f.sums, state)
                    now = b.maximum(so_far[0], other)
                    fade, gain = b.exp2_scalar(b.fsub(so_far[0], now)), b.exp2_scalar(b.fsub(other, now))

                    def add(k: ir.Value) -> None:
                        old, new = (
                            b.fmul(b.load_vector(total, k), b.splat(fade)),
                            b.fmul(b.load_vector(values, k), b.splat(gain)),
                        )
                        b.store(b.fadd(old, new), total, k)

                    _panels(b, f.padded, add)
                    return [now, b.fadd(b.fmul(so_far[1], fade), b.fmul(other_sum, gain))]

                with b.if_then(b.icmp_signed("==", f.first_segment, int64(0))):
                    b.store(ir.Constant(FLOAT, NONE_YET), f.all_largest, place)
                    b.store(ir.Constant(FLOAT, 0.0), f.all_sums, place)
                    _panels(b, f.padded, lambda k: b.store(vector(0.0), total, k))
                begin = [b.load(f.all_largest, place), b.load(f.all_sums, place)]
                largest, weights = b.loop(f.first_segment, last, 1, segment, begin)
                b.store(largest, f.all_largest, place)
                b.store(weights, f.all_sums, place)
                out = b.offset(f.out, b.mul(place, f.value_size))
                divisor = b.maximum(weights, ir.Constant(FLOAT, 1e-30))
                b.combine(b.fdiv, total, divisor, out, f.value_size)

            b.loop(int64(0), f.heads, 1, head)

        b.parallel_for(f.taken, f.items, row)
