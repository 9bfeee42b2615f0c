"""What attention over float32 is made of: panels of a tile in float32, rows' scores from them, and their weighted values."""

from functools import partial

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT64,
    LANES,
    POINTER,
    UNROLLED,
    Builder,
    begin_block,
    define_rows,
    int64,
    rows_of,
    vector,
)
from foreword.backends.cpu.kernels.kv_layout import define_gather, kept_as
from foreword.backends.cpu.kernels.softmax import define_softmax
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tile_products import SIXTEEN, Taken

_THIRTY_TWO = Taken((12, 6, 4, 3, 2, 1), (6, 4, 3, 2, 1), 6)
"""With the 32 registers of AVX-512."""


class FloatProducts:
    """See TileProducts. Of keys and values kept in float32, or in bfloat16 and brought to float32 tile by tile."""

    def __init__(self, module: ir.Module, target: Target, dtype: torch.dtype):
        self.taken = taken = _THIRTY_TWO if target.lanes == LANES else SIXTEEN
        self.kept = kept_as(dtype)
        self.in_place = self.kept is FLOAT
        self.gather = define_gather(module, self.kept)
        self.scores = define_rows(module, "scores", {n: _define_scores(module, n, 1) for n in taken.rows})
        self.pair_scores = define_rows(module, "pair_scores", {n: _define_scores(module, n, 2) for n in taken.pair_rows})
        self.weigh = define_rows(module, "weigh", {n: _define_weigh(module, n, 1) for n in taken.rows})
        self.pair_weigh = define_rows(module, "pair_weigh", {n: _define_weigh(module, n, 2) for n in taken.pair_rows})
        self.softmax = define_softmax(module, scaled=False)

    def take(self, b: Builder, source: ir.Value, scaling: ir.Value, query: ir.Value, size: ir.Value) -> None:
        """See TileProducts."""
        b.combine(b.fmul, source, scaling, query, size)

    def scales(self, b: Builder, keys: ir.Value, size: ir.Value) -> list[ir.Value]:  # noqa: ARG002
        """See TileProducts."""
        return []

    def weights(self, b: Builder, row: ir.Value, low: ir.Value) -> ir.Value:
        """See TileProducts."""
        return b.offset(row, low)

    def columns(self, b: Builder, low: ir.Value, high: ir.Value, end: ir.Value) -> ir.Value:  # noqa: ARG002
        """See TileProducts. Not one more than are seen: behind them is what may be no number."""
        return b.sub(high, low)


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
