"""The softmax of attention: of one row over a tile, kept up from tile to tile, and joined over segments.

A row's state is its largest score so far and its sum of weights; scores are logarithms to the base 2. Where values are of 8
bits and have scales, a row's weights are brought to whole numbers: each times its value's scale, in parts of the largest.
"""

from collections.abc import Callable

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT32,
    INT64,
    INT_VECTOR,
    LANES,
    POINTER,
    VECTOR,
    Builder,
    int64,
    vector,
)
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.whole_rows import ROUND

TILE = 256
"""Positions of a tile."""
NONE_YET = -1e30
"""The largest score of a row that has seen nothing."""
FINEST = 2**15 - 1
"""Of whole numbers of 16 bits the largest."""
INT16_VECTOR = ir.VectorType(ir.IntType(16), LANES)

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


def define_softmax(module: ir.Module, scaled: bool) -> ir.Function:
    """Scores of one row in a tile → weights, 0 outside its bounds; its state and the values so far are scaled to match.

    Arguments: scores [TILE], bounds [2], the columns to go through (multiples of 16), state [2], values so far and their
    width, and the soft cap (0: none).

    ``scaled``: the weights become int16, from the row's beginning on, the first being that of the first column gone through;
    the row's last float32 is what they are multiplied with. Two arguments more: the addresses of a tile's panels, and where
    in a panel the scales of its 16 values are.
    """
    kinds = [POINTER, POINTER, INT64, INT64, POINTER, POINTER, INT64, FLOAT, *([POINTER, INT64] if scaled else [])]
    b = Builder.of(module, "softmax", kinds)
    scores, bounds, begin, end, state, values, width, softcap, *scales = b.function.args
    columns = _Columns(b, bounds, begin, end)

    with b.if_then(b.fcmp_ordered(">", softcap, ir.Constant(FLOAT, 0.0))):
        cap = b.splat(softcap)

        def capped(at: ir.Value, _: object) -> None:
            b.store(b.fmul(_tanh(b, b.fdiv(b.load_vector(scores, at), cap)), cap), scores, at)

        b.loop(begin, end, LANES, capped)

    def largest(at: ir.Value, so_far: list[ir.Value], seen: ir.Value | None) -> list[ir.Value]:
        return [b.maximum(_only(b, seen, b.load_vector(scores, at), NONE_YET), so_far[0])]

    (found,) = columns.each(largest, [vector(NONE_YET)])
    most, before = b.reduce(found, b.maximum), b.load(state, int64(0))
    now = b.maximum(most, before)
    shift = b.splat(now)

    def weights(at: ir.Value, so_far: list[ir.Value], seen: ir.Value | None) -> list[ir.Value]:
        weight = _only(b, seen, b.exp2(b.fsub(b.load_vector(scores, at), shift)), 0.0)
        added = [b.fadd(so_far[0], weight)]
        if scales:
            table, place = scales
            panel = b.inttoptr(b.load(table, b.lshr(at, int64(LANES.bit_length() - 1)), INT64), POINTER)
            weight = _only(b, seen, b.fmul(weight, b.load_vector(panel, place)), 0.0)
            added.append(b.maximum(weight, so_far[1]))
        b.store(weight, scores, at)
        return added

    total, *most_scaled = columns.each(weights, [vector(0.0)] * (2 if scaled else 1))
    added = b.reduce(total, b.fadd)
    for weight in most_scaled:
        _make_whole(b, scores, begin, end, weight)
    fade = b.exp2_scalar(b.fsub(before, now))
    b.store(now, state, int64(0))
    b.store(b.fadd(b.fmul(b.load(state, int64(1)), fade), added), state, int64(1))
    b.vectors(width, lambda at: b.store(b.fmul(b.load_vector(values, at), b.splat(fade)), values, at))
    b.ret_void()
    return b.function


Body = Callable[[ir.Value, list[ir.Value], ir.Value | None], list[ir.Value]]
"""What is done with 16 columns: the first, what is carried, and which of them are seen (None: all)."""


class _Columns:
    """The columns of a row in a tile: those that are wholly within its bounds are gone through without a mask."""

    def __init__(self, b: Builder, bounds: ir.Value, begin: ir.Value, end: ir.Value):
        self._b = b
        first, last = (b.load(bounds, int64(side), INT64) for side in range(2))
        inner = b.minimum_int(b.and_(b.add(first, int64(LANES - 1)), int64(-LANES)), end)
        outer = b.maximum_int(b.and_(last, int64(-LANES)), inner)
        self._ranges = ((begin, inner, True), (inner, outer, False), (outer, end, True))
        self._low, self._high = (b.splat(b.trunc(bound, INT32)) for bound in (first, last))

    def each(self, body: Body, carried: list[ir.Value]) -> list[ir.Value]:
        """Through all of them, ascending."""
        for first, last, partly in self._ranges:

            def sixteen(at: ir.Value, so_far: list[ir.Value], partly: bool = partly) -> list[ir.Value]:
                return body(at, so_far, self._seen(at) if partly else None)

            carried = self._b.loop(first, last, LANES, sixteen, carried)
        return carried

    def _seen(self, column: ir.Value) -> ir.Value:
        b = self._b
        place = b.add(ir.Constant(INT_VECTOR, list(range(LANES))), b.splat(b.trunc(column, INT32)))
        return b.and_(b.icmp_signed(">=", place, self._low), b.icmp_signed("<", place, self._high))


def _only(b: Builder, seen: ir.Value | None, numbers: ir.Value, otherwise: float) -> ir.Value:
    return numbers if seen is None else b.select(seen, numbers, vector(otherwise))


def _make_whole(b: Builder, row: ir.Value, begin: ir.Value, end: ir.Value, largest: ir.Value) -> None:
    """Columns [begin, end) of a row in int16, where the row begins, and what they are multiplied with."""
    most = b.maximum(b.reduce(largest, b.maximum), ir.Constant(FLOAT, 1e-30))
    finest = ir.Constant(FLOAT, float(FINEST))
    inverse = b.splat(b.fdiv(finest, most))

    def sixteen(at: ir.Value, _: object) -> None:
        bits = b.bitcast(b.fma(b.load_vector(row, at), inverse, vector(ROUND)), INT_VECTOR)
        b.store(b.trunc(bits, INT16_VECTOR), row, b.sub(at, begin))

    b.loop(begin, end, LANES, sixteen)
    b.store(b.fdiv(most, finest), row, int64(TILE - 1))


def _tanh(b: Builder, x: ir.Value) -> ir.Value:
    """By e to the -2|x|."""
    size = b.call(b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR]), [x])
    small = b.exp(b.fmul(size, vector(-2.0)))
    result = b.fdiv(b.fsub(vector(1.0), small), b.fadd(vector(1.0), small))
    return b.call(b.intrinsic("llvm.copysign.v16f32", VECTOR, [VECTOR, VECTOR]), [result, x])


def define_merge(module: ir.Module) -> None:
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

                    b.vectors(f.padded, add)
                    return [now, b.fadd(b.fmul(so_far[1], fade), b.fmul(other_sum, gain))]

                with b.if_then(b.icmp_signed("==", f.first_segment, int64(0))):
                    b.store(ir.Constant(FLOAT, NONE_YET), f.all_largest, place)
                    b.store(ir.Constant(FLOAT, 0.0), f.all_sums, place)
                    b.vectors(f.padded, lambda k: b.store(vector(0.0), total, k))
                begin = [b.load(f.all_largest, place), b.load(f.all_sums, place)]
                largest, weights = b.loop(f.first_segment, last, 1, segment, begin)
                b.store(largest, f.all_largest, place)
                b.store(weights, f.all_sums, place)
                out = b.offset(f.out, b.mul(place, f.value_size))
                divisor = b.maximum(weights, ir.Constant(FLOAT, 1e-30))
                b.combine(b.fdiv, total, divisor, out, f.value_size)

            b.loop(int64(0), f.heads, 1, head)

        b.parallel_for(f.taken, f.items, row)
