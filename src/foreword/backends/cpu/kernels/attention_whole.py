"""What attention over keys and values of 8 bits is made of: products of pairs of whole numbers, twice as fast as floats.

A row's query is brought to whole numbers of 16 bits, in parts of its largest number, and so are its weights in a tile, each
times the scale of its value. Sums of whole numbers are exact; what comes out is a sum times the row's scale, and of a score
the key's. Beside what 8 bits leave of keys and values, 16 bits are as good as exact.

Panels are gathered in pairs, int16: of keys [size / 2, 16, 2], behind them float32, the scales of 16 keys and those of 16
values; of values [columns / 16, 8, 16, 2].
"""

from functools import partial

from llvmlite import ir

from foreword.backends.cpu.kernels.dots import INT8, INT16, LARGEST
from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT32,
    INT64,
    LANES,
    POINTER,
    UNROLLED,
    Builder,
    begin_block,
    define_rows,
    int64,
)
from foreword.backends.cpu.kernels.kv_layout import define_whole_gather
from foreword.backends.cpu.kernels.softmax import FINEST, define_softmax
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tile_products import SIXTEEN, Taken
from foreword.backends.cpu.kernels.whole_rows import HELD, rounded, row_scale
from foreword.backends.cpu.kernels.wide_dots import add_pairs

PAIR_WORDS = LANES
"""Numbers of 32 bits in a step: of 16 columns, two numbers each."""

_THIRTY_TWO = Taken((8, 4, 3, 2, 1), (8, 4, 3, 2, 1), 8)
"""With the 32 registers of AVX-512: two panels share what is read of a row."""


class WholeProducts:
    """See TileProducts. Of keys and values kept in int8."""

    def __init__(self, module: ir.Module, target: Target):
        self.taken = taken = _THIRTY_TWO if target.lanes == LANES else SIXTEEN
        self.kept: ir.Type = INT8
        self.in_place = False
        self.gather = define_whole_gather(module)
        scores, weigh = partial(_define_scores, module, target), partial(_define_weigh, module, target)
        self.scores = define_rows(module, "scores", {n: scores(n, 1) for n in taken.rows})
        self.pair_scores = define_rows(module, "pair_scores", {n: scores(n, 2) for n in taken.pair_rows})
        self.weigh = define_rows(module, "weigh", {n: weigh(n, 1) for n in taken.rows})
        self.pair_weigh = define_rows(module, "pair_weigh", {n: weigh(n, 2) for n in taken.pair_rows})
        self.softmax = define_softmax(module, scaled=True)

    def take(self, b: Builder, source: ir.Value, scaling: ir.Value, query: ir.Value, size: ir.Value) -> None:
        """See TileProducts. As int16, a zero behind an odd number of them, and at last what they are multiplied with."""
        finest = b.minimum_int(int64(FINEST), b.sdiv(int64(HELD), b.mul(size, int64(LARGEST))))
        step, scale = row_scale(b, source, size, b.sitofp(finest, FLOAT))
        inverse = b.splat(b.fdiv(ir.Constant(FLOAT, 1.0), step))
        even = b.and_(size, int64(-LANES))

        def whole(numbers: ir.Value) -> ir.Value:
            return b.trunc(rounded(b, b.fmul(numbers, inverse)), ir.VectorType(INT16, LANES))

        def one(at: ir.Value, _: object) -> None:
            b.store(b.extract_element(whole(b.splat(b.load(source, at))), ir.Constant(INT32, 0)), query, at)

        b.store(ir.Constant(INT16, 0), query, size)
        b.loop(int64(0), even, LANES, lambda at, _: b.store(whole(b.load_vector(source, at)), query, at))
        b.loop(even, size, 1, one)
        b.store(b.fmul(scale, scaling), query, size)

    def scales(self, b: Builder, keys: ir.Value, size: ir.Value) -> list[ir.Value]:
        """See TileProducts. Those of the values."""
        return [keys, b.add(b.mul(_pairs(b, size), int64(PAIR_WORDS)), int64(LANES))]

    def weights(self, b: Builder, row: ir.Value, low: ir.Value) -> ir.Value:  # noqa: ARG002
        """See TileProducts."""
        return row

    def columns(self, b: Builder, low: ir.Value, high: ir.Value, end: ir.Value) -> ir.Value:  # noqa: ARG002
        """See TileProducts. Whole numbers that are not seen weigh nothing, whatever they are."""
        return b.sub(end, low)


def _pairs(b: Builder, size: ir.Value) -> ir.Value:
    return b.lshr(b.add(size, int64(1)), int64(1))


class _Sums:
    """Sums of products of pairs, of some rows and some vectors of 16 columns: each in as many parts as the processor's
    vectors want."""

    def __init__(self, b: Builder, target: Target, vectors: int, rows: int):
        self._b, self._target, self._vectors, self._rows = b, target, vectors, rows
        self._parts = LANES // target.lanes
        self._codes = ir.VectorType(INT16, 2 * target.lanes)
        self._total = ir.VectorType(INT32, target.lanes)

    def none(self) -> list[ir.Value]:
        """Nothing added up yet."""
        return [ir.Constant(self._total, [0] * self._target.lanes)] * (self._rows * self._vectors * self._parts)

    def step(self, rights: list[ir.Value], lefts: list[ir.Value], sums: list[ir.Value]) -> list[ir.Value]:
        """Add one step: ``rights`` are where a vector's pairs are, ``lefts`` where a row's are."""
        b, lanes = self._b, self._target.lanes
        places = [(right, int64(2 * lanes * part)) for right in rights for part in range(self._parts)]
        codes = [b.load_vector(right, at, self._codes) for right, at in places]
        added = []
        for row, left in enumerate(lefts):
            factor = b.bitcast(b.splat(b.load(left, int64(0), INT32), lanes), self._codes)
            own = sums[row * len(codes) : (row + 1) * len(codes)]
            added += [add_pairs(b, self._target, total, code, factor) for total, code in zip(own, codes, strict=True)]
        if len(lefts) > 1:
            b.fence("seq_cst", "singlethread")  # no instruction, but what reads memory behind it stays there
        return added

    def each(self, sums: list[ir.Value]) -> list[tuple[int, int, int, ir.Value]]:
        """Row, vector, number of the first column in it, and the sums as float32."""
        floats = ir.VectorType(FLOAT, self._target.lanes)
        found = []
        for index, total in enumerate(sums):
            row, place = divmod(index, self._vectors * self._parts)
            number, part = divmod(place, self._parts)
            found.append((row, number, part * self._target.lanes, self._b.sitofp(total, floats)))
        return found


def _define_scores(module: ir.Module, target: Target, rows: int, panels: int) -> ir.Function:
    """Whole queries of some rows times panels of keys, whose addresses are B."""
    b, (a, a_stride, table, _, c, c_stride, size) = begin_block(module, f"scores{rows}x{panels}")
    rights = [b.inttoptr(b.load(table, int64(panel), INT64), POINTER) for panel in range(panels)]
    lefts = [b.offset(a, b.mul(a_stride, int64(row))) for row in range(rows)]
    sums, pairs = _Sums(b, target, panels, rows), _pairs(b, size)

    def steps(first: ir.Value, so_far: list[ir.Value], count: int) -> list[ir.Value]:
        for pair in (b.add(first, int64(index)) for index in range(count)):
            words = b.mul(pair, int64(PAIR_WORDS))
            so_far = sums.step(
                [b.offset(right, words) for right in rights], [b.offset(left, pair) for left in lefts], so_far
            )
        return so_far

    many = b.and_(pairs, int64(-UNROLLED))
    totals = b.loop(int64(0), many, UNROLLED, partial(steps, count=UNROLLED), sums.none())
    totals = b.loop(many, pairs, 1, partial(steps, count=1), totals)
    scales = b.mul(pairs, int64(PAIR_WORDS))
    for row, panel, first, numbers in sums.each(totals):
        of_keys = b.load_vector(rights[panel], b.add(scales, int64(first)), numbers.type)
        of_row = b.splat(b.load(lefts[row], size), target.lanes)
        score = b.fmul(b.fmul(numbers, of_keys), of_row)
        b.store(score, c, b.add(b.mul(c_stride, int64(row)), int64(panel * LANES + first)))
    b.ret_void()
    return b.function


def _define_weigh(module: ir.Module, target: Target, rows: int, columns: int) -> ir.Function:
    """Whole weights of some rows times some columns of values, added to C: B is the addresses of panels, and where in them
    columns of 32 bits would be."""
    b, (a, a_stride, table, offset, c, c_stride, depth) = begin_block(module, f"weigh{rows}x{columns}")
    lefts = [b.offset(a, b.mul(a_stride, int64(row))) for row in range(rows)]
    sums = _Sums(b, target, columns, rows)
    half = b.lshr(offset, int64(1))

    def panel(first: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
        values = b.inttoptr(b.load(table, b.lshr(first, int64(LANES.bit_length() - 1)), INT64), POINTER)
        values, begin = b.offset(values, half), b.lshr(first, int64(1))
        for pair in range(LANES // 2):
            words = [pair * PAIR_WORDS + column * LANES * LANES // 2 for column in range(columns)]
            rights = [b.offset(values, int64(word)) for word in words]
            so_far = sums.step(rights, [b.offset(left, b.add(begin, int64(pair))) for left in lefts], so_far)
        return so_far

    for row, column, first, numbers in sums.each(b.loop(int64(0), depth, LANES, panel, sums.none())):
        of_row = b.splat(b.load(lefts[row], b.sub(a_stride, int64(1))), target.lanes)
        place = b.add(b.mul(c_stride, int64(row)), int64(column * LANES + first))
        b.store(b.fma(numbers, of_row, b.load_vector(c, place, numbers.type)), c, place)
    b.ret_void()
    return b.function
