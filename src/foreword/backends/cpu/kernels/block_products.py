"""Products with weights in blocks of 32 inputs that have scales of their own: one kernel, written for each layout of blocks.

Of a block the whole numbers are multiplied and added exactly; blocks are joined in ascending order, each by a fused
multiply-add (two where the format has minima). So a result's bits depend on its row and its weights alone.

Memory: a panel is 16 outputs. Its codes are, block by block, planes of bits: a plane of n bits is n vectors of 64 bytes, and
each byte holds the codes of one output and one input of four for 8 / n steps of four inputs.
"""

from dataclasses import dataclass
from functools import partial

from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import KernelModule, kernel_module
from foreword.backends.cpu.kernels.dots import INT8, INT16, Bits, Codes, Read, zero_of
from foreword.backends.cpu.kernels.halves import read_float16
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, POINTER, Builder, int64
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tiles import PANEL, Tile, Tiles
from foreword.backends.cpu.kernels.whole_rows import BLOCK, WHOLE
from foreword.backends.cpu.kernels.wide_dots import dots_of

STEP = 4
"""Inputs whose products are added by one instruction."""
STEPS = BLOCK // STEP
VECTOR_BYTES = PANEL * STEP
NESTED = 8
"""Blocks that share their largest scale, where scales are whole numbers themselves."""

_FIELDS = {
    "panels": "int",
    "count": "int",
    "blocks": "int",
    "whole": "pointer",
    "row_scales": "pointer",
    "row_terms": "pointer",
    "codes": "pointer",
    "steps": "pointer",
}
LINEAR = Signature("linear", **_FIELDS, out="pointer", width="int")  # type: ignore[arg-type]
"""Whole rows [count, blocks, 32] times packed weights → out [count, width]."""
NESTED_LINEAR = Signature("nested_linear", **_FIELDS, factors="pointer", out="pointer", width="int")  # type: ignore[arg-type]
"""The same, of scales that are ``factors`` times ``steps``."""


@dataclass(frozen=True)
class BlockLayout:
    """How a format's blocks lie in memory.

    planes
        Bits of a code, from the lowest, as they are kept: (4, 1) are four and one.
    codes
        What the bits stand for.
    zero
        The code of weight 0, where there are no minima.
    minima
        Whether a block has a smallest weight, that all others are counted from.
    groups
        Scales of a block: 1, or 2 of 16 inputs.
    nested
        Whether scales (and minima) are whole numbers of 8 bits, times a float16 for each eight blocks.
    """

    planes: tuple[int, ...]
    codes: Codes
    zero: int = 0
    minima: bool = False
    groups: int = 1
    nested: bool = False

    @property
    def code_bytes(self) -> int:
        """Of a block of a panel."""
        return sum(self.planes) * VECTOR_BYTES

    @property
    def step_terms(self) -> int:
        """float16 numbers of an output: its scale, and its minimum."""
        return 1 + self.minima

    @property
    def factor_terms(self) -> int:
        """Whole numbers of an output and block, where scales are nested."""
        return self.groups + self.minima


TILES = {
    16: (Tile(8, 2, 1), Tile(4, 2, 1), Tile(2, 2, 1), Tile(1, 2, 1)),
    8: (Tile(4, 2, 1), Tile(2, 2, 1), Tile(1, 2, 2)),
    4: (Tile(2, 2, 1), Tile(1, 2, 2)),
}
"""By the lanes of a vector: whole sums of so many fill the registers; the sums of blocks may wait in memory."""


def block_kernels(layout: BlockLayout) -> "KernelModule[BlockLayout, Bits]":
    """The kernels of a layout, which are a variant of it."""
    return nested_kernels if layout.nested else single_kernels


@kernel_module(LINEAR)
def single_kernels(module: ir.Module, target: Target, layout: BlockLayout, bits: Bits) -> None:
    """Scales of each block are float16; ``bits``: of a row's numbers."""
    _define_linear(module, target, layout, bits, LINEAR)


@kernel_module(NESTED_LINEAR)
def nested_kernels(module: ir.Module, target: Target, layout: BlockLayout, bits: Bits) -> None:
    """Scales of each block are whole numbers."""
    _define_linear(module, target, layout, bits, NESTED_LINEAR)


def _define_linear(module: ir.Module, target: Target, layout: BlockLayout, bits: Bits, signature: Signature) -> None:
    """An item is some panels, and all rows with them."""
    products = Tiles(target, TILES[target.lanes], lambda tile: _define_product(module, target, layout, bits, tile))
    with signature.define(module) as (b, f):
        whole, row_scales, row_terms, codes = f.whole, f.row_scales, f.row_terms, f.codes
        steps, out, width = f.steps, f.out, f.width
        factors = f.factors if layout.nested else steps
        terms = 1 if layout.minima else layout.groups

        def product(function: ir.Function, row: ir.Value, panel: ir.Value, part: ir.Value) -> None:
            place, first = b.mul(panel, f.blocks), b.mul(part, int64(target.lanes))
            large = b.sdiv(place, int64(NESTED)) if layout.nested else place
            column = b.add(b.mul(panel, int64(PANEL)), first)
            given = [
                b.offset(whole, b.mul(row, b.mul(f.blocks, int64(BLOCK))), WHOLE[bits]),
                b.offset(row_scales, b.mul(row, f.blocks)),
                b.offset(row_terms, b.mul(row, b.mul(f.blocks, int64(terms)))),
                b.offset(codes, b.add(b.mul(place, int64(layout.code_bytes)), b.mul(first, int64(STEP))), INT8),
                b.offset(steps, b.add(b.mul(large, int64(layout.step_terms * PANEL)), first), INT16),
                b.offset(factors, b.add(b.mul(place, int64(layout.factor_terms * PANEL)), first), INT8),
                b.offset(out, b.add(b.mul(row, width), column)),
            ]
            b.call(function, [*given, width, f.blocks])

        b.parallel_for(f.taken, f.items, lambda item: products.go_through(b, item, f.items, f.panels, f.count, product))


def _define_product(module: ir.Module, target: Target, layout: BlockLayout, bits: Bits, tile: Tile) -> ir.Function:
    """Sums of a tile, through all blocks. Arguments: whole rows, their scales and terms, codes, steps and factors from the
    first vector of outputs on, the results, their width, and how many blocks there are."""
    kinds = [POINTER] * 7 + [INT64] * 2
    b = Builder.of(module, f"product{tile.rows}x{tile.panels}x{tile.parts}", kinds)
    body = _Product(b, target, layout, bits, tile)
    out, width, blocks = b.function.args[6:]
    zeros = [ir.Constant(body.floats, [0.0] * target.lanes)] * (tile.rows * len(tile.strips))
    sums = b.loop(int64(0), blocks, 1, body.block, zeros)
    for index, total in enumerate(sums):
        strip, row = divmod(index, tile.rows)
        panel, part = tile.strips[strip]
        b.store(total, out, b.add(b.mul(width, int64(row)), int64(panel * PANEL + part * target.lanes)))
    b.ret_void()
    return b.function


class _Product:
    """One block of a tile: its codes, its scales, its rows."""

    def __init__(self, b: Builder, target: Target, layout: BlockLayout, bits: Bits, tile: Tile):
        self.b, self.target, self.layout, self.tile = b, target, layout, tile
        self.floats = ir.VectorType(FLOAT, target.lanes)
        self._dots = dots_of(b, target, layout.codes, bits)
        self._zero = zero_of(target, layout.codes, layout.zero, bits)
        self._whole, self._scales, self._terms, self._codes, self._steps, self._factors = b.function.args[:6]
        self._blocks = b.function.args[8]
        self._terms_of_block = 1 if layout.minima else layout.groups

    def block(self, at: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """The sums with a block's products in them: of each vector of outputs, row by row."""
        b, layout, lanes = self.b, self.layout, self.target.lanes
        rows = [b.add(b.mul(self._blocks, int64(row)), at) for row in range(self.tile.rows)]
        places = []
        for panel, part in self.tile.strips:
            places.append((b.add(b.mul(self._blocks, int64(panel)), at), part * lanes))
        steps = STEPS // layout.groups
        out = list(sums)
        for group in range(layout.groups):
            numbers = range(group * steps, (group + 1) * steps)
            codes = [[partial(self._code, place, first * STEP, step) for step in numbers] for place, first in places]
            factors = [[read for step in numbers for read in self._numbers(row, step)] for row in rows]
            totals = self._dots.of(codes, factors, [self._start(row, group) for row in rows] * len(places))
            weights = [self._weight_scale(place, first, group) for place, first in places]
            for index, total in enumerate(totals):
                strip, row = divmod(index, len(rows))
                scale = b.splat(b.load(self._scales, rows[row]), lanes)
                out[index] = b.fma(b.fmul(b.sitofp(total, self.floats), scale), weights[strip], out[index])
        if layout.minima:
            minima = [self._weight_scale(place, first, layout.groups) for place, first in places]
            for index, total in enumerate(out):
                strip, row = divmod(index, len(rows))
                out[index] = b.fma(minima[strip], b.splat(b.load(self._terms, rows[row]), lanes), total)
        return out

    def _start(self, row_block: ir.Value, group: int) -> ir.Value:
        """Of a row's whole sum: what the weights' codes are too large by."""
        if self.layout.minima or not self._zero:
            return ir.Constant(self._dots.total, [0] * self.target.lanes)
        at = self.b.add(self.b.mul(row_block, int64(self._terms_of_block)), int64(group))
        return self.b.splat(self.b.load(self._terms, at, INT32), self.target.lanes)

    def _numbers(self, row_block: ir.Value, step: int) -> list[Read]:
        """What reads four numbers of a row."""
        words = self._dots.words
        at = self.b.mul(row_block, int64(STEPS * words))
        places = [self.b.add(at, int64(step * words + word)) for word in range(words)]
        return [partial(self.b.load, self._whole, place, INT32) for place in places]

    def _code(self, place: ir.Value, first: int, step: int) -> ir.Value:
        """The codes of a step, from their planes."""
        b, bits_below, vectors_before = self.b, 0, 0
        kind, shorts = self._dots.bytes, ir.VectorType(INT16, 2 * self.target.lanes)
        begin = b.mul(place, int64(self.layout.code_bytes))
        codes = None
        for bits in self.layout.planes:
            vector, shift = vectors_before + step % bits, step // bits * bits
            found = b.load_vector(self._codes, b.add(begin, int64(vector * VECTOR_BYTES + first)), kind)
            if bits < 8:
                moved = shift - bits_below  # to the right; what comes from a neighbouring byte is masked
                wide = b.bitcast(found, shorts)
                by = ir.Constant(shorts, [abs(moved)] * shorts.count)
                wide = b.lshr(wide, by) if moved > 0 else b.shl(wide, by) if moved < 0 else wide
                mask = ir.Constant(kind, [((2**bits - 1) << bits_below)] * kind.count)
                found = b.and_(b.bitcast(wide, kind), mask)
            codes = found if codes is None else b.or_(codes, found)
            bits_below, vectors_before = bits_below + bits, vectors_before + bits
        return codes

    def _weight_scale(self, place: ir.Value, first: int, term: int) -> ir.Value:
        """The scales of a block's group; behind those of all groups, its minima."""
        b, layout, lanes = self.b, self.layout, self.target.lanes
        large = b.sdiv(place, int64(NESTED)) if layout.nested else place
        kind = max(0, term - layout.groups + 1)
        at = b.add(b.mul(large, int64(layout.step_terms * PANEL)), int64(kind * PANEL + first))
        step = read_float16(b, self.target, self._steps, at, lanes)
        if not layout.nested:
            return step
        at = b.add(b.mul(place, int64(layout.factor_terms * PANEL)), int64(term * PANEL + first))
        whole = b.load_vector(self._factors, at, ir.VectorType(INT8, lanes))
        widen = b.zext if layout.minima else b.sext
        return b.fmul(step, b.sitofp(widen(whole, self._dots.total), self.floats))
