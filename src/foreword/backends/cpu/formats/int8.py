"""Weights as whole numbers up to 127, rows as such or of 16 bits: one scale for each output's weights, one for each row.

A quarter of float32's memory; the result is about 1 % off (of the largest) for random numbers. Sums of whole numbers are
exact, so their order does not matter. A row is scaled by its own largest number, never by the batch's.
"""

from collections.abc import Sequence
from functools import partial

import torch
from llvmlite import ir
from torch.nn import functional

from foreword.backends.cpu.kernels.compiler import Call, ObjectCache, kernel_module
from foreword.backends.cpu.kernels.dots import INT8, LARGEST, Bits, Codes, Dots, Read, zero_of
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, POINTER, UNROLLED, Builder, int64
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tiles import PANEL, Tile, Tiles, items_of, panels_of
from foreword.backends.cpu.kernels.whole_rows import plain_row_kernels, plain_rows
from foreword.backends.cpu.kernels.wide_dots import dots_of
from foreword.backends.cpu.weight_format import PackedWeight, joined_rows, require_floats

CODES = Codes(LARGEST, signed=True)
STEP = 4
"""Inputs whose products are added by one instruction."""
TILES = {
    16: (Tile(8, 2, 1), Tile(4, 2, 1), Tile(2, 2, 1), Tile(1, 2, 1)),
    8: (Tile(4, 2, 1), Tile(2, 2, 1), Tile(1, 2, 2)),
    4: (Tile(2, 2, 1), Tile(1, 2, 2)),
}
"""By the lanes of a vector."""

LINEAR = Signature(
    "linear",
    panels="int",
    count="int",
    steps="int",
    whole="pointer",
    row_scales="pointer",
    starts="pointer",
    packed="pointer",
    scales="pointer",
    out="pointer",
    width="int",
)
"""Whole rows [count, steps, 4], of 8 or 16 bits, times packed weights, by the scales of both → out [count,
width]."""


class Int8:
    """See WeightFormat. Parts: panels [out / 16, in / 4, 16, 4] of int8, filled up with zeros, and scales [16 · panels]."""

    name = "int8"
    bits = 8.0
    error = 0.015
    joins_at = PANEL

    def __init__(self, target: Target, activation_bits: Bits):
        self._target, self._row_bits = target, activation_bits

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """See WeightFormat."""
        require_floats(self.name, weight)
        out_features, in_features = weight.shape
        panels, steps = panels_of(out_features), -(-in_features // STEP)
        padded = functional.pad(weight.float(), (0, STEP * steps - in_features, 0, panels * PANEL - out_features))
        scales = padded.abs().amax(1).clamp_min_(1e-30).div_(LARGEST)
        whole = (padded / scales[:, None]).round_().to(torch.int8)
        packed = whole.view(panels, PANEL, steps, STEP).transpose(1, 2).contiguous()
        return PackedWeight(out_features, in_features, (packed, scales))

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """See WeightFormat."""
        return joined_rows(parts)

    def rows(self, packed: PackedWeight, outputs: torch.Tensor) -> torch.Tensor:
        """See WeightFormat."""
        whole, scales = packed.parts
        chosen = whole[outputs // PANEL, :, outputs % PANEL].flatten(1)[:, : packed.in_features]
        return chosen.float() * scales[outputs, None]

    def compile(self, objects: ObjectCache | None = None) -> None:
        """See WeightFormat."""
        int8_kernels.compile(self._target, self._row_bits, objects=objects)
        plain_row_kernels.compile(self._target, self._row_bits, objects=objects)

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """See WeightFormat. The rows as whole numbers, then the product."""
        out_features, in_features = sizes
        panels, steps, count = panels_of(out_features), -(-in_features // STEP), len(rows)
        packed, scales = parts
        zero = zero_of(self._target, CODES, 0, self._row_bits)
        whole = plain_rows(self._target, rows, STEP * steps, zero, self._row_bits)
        product = int8_kernels(self._target, self._row_bits)[LINEAR].call(
            items=items_of(panels, len(rows), torch.get_num_threads()),
            panels=panels,
            count=count,
            steps=steps,
            whole=whole.whole,
            row_scales=whole.scales,
            starts=whole.terms,
            packed=packed,
            scales=scales,
            out=out,
            width=out.stride(0),
        )
        return [whole.call, product]


def make(target: Target, activation_bits: Bits) -> Int8:
    """The format for a target."""
    return Int8(target, activation_bits)


@kernel_module(LINEAR)
def int8_kernels(module: ir.Module, target: Target, bits: Bits) -> None:
    """The product: an item is some panels, and all rows with them."""
    products = Tiles(target, TILES[target.lanes], lambda tile: _define_product(module, target, tile, bits))
    words = bits // 8
    with LINEAR.define(module) as (b, f):
        whole, row_scales, starts, packed = f.whole, f.row_scales, f.starts, f.packed
        scales, out, width = f.scales, f.out, f.width

        def product(function: ir.Function, row: ir.Value, panel: ir.Value, part: ir.Value) -> None:
            first = b.mul(part, int64(target.lanes))
            column = b.add(b.mul(panel, int64(PANEL)), first)
            weights = b.add(b.mul(panel, b.mul(f.steps, int64(PANEL))), first)
            given = [
                b.offset(whole, b.mul(row, b.mul(f.steps, int64(words))), INT32),
                b.offset(row_scales, row),
                b.offset(starts, row),
                b.offset(packed, weights, INT32),
                b.offset(scales, column),
                b.offset(out, b.add(b.mul(row, width), column)),
            ]
            b.call(function, [*given, width, f.steps])

        b.parallel_for(f.taken, f.items, lambda item: products.go_through(b, item, f.items, f.panels, f.count, product))


def _define_product(module: ir.Module, target: Target, tile: Tile, bits: Bits) -> ir.Function:
    """Whole sums of a tile, then scaled. Arguments: whole rows, their scales and starts, weights and their scales from the
    first vector of outputs on, the results, their width, and how many steps there are."""
    b = Builder.of(module, f"product{tile.rows}x{tile.panels}x{tile.parts}", [POINTER] * 6 + [INT64] * 2)
    whole, row_scales, starts, packed, scales, out, width, depth = b.function.args
    dots, lanes, rows = dots_of(b, target, CODES, bits), target.lanes, range(tile.rows)
    floats = ir.VectorType(FLOAT, lanes)
    begins = []
    for panel, part in tile.strips:
        begins.append(b.add(b.mul(depth, int64(panel * PANEL)), int64(part * lanes)))

    def some(at: ir.Value, sums: list[ir.Value], steps: int) -> list[ir.Value]:
        places = [b.add(at, int64(index)) for index in range(steps)]
        codes = [[partial(_weights, b, dots, packed, begin, place) for place in places] for begin in begins]
        factors = [[read for place in places for read in _factors(b, dots, whole, depth, row, place)] for row in rows]
        return dots.of(codes, factors, sums)

    sums = [b.splat(b.load(starts, int64(row), INT32), lanes) for row in rows] * len(tile.strips)
    even = b.and_(depth, int64(-UNROLLED))
    sums = b.loop(int64(0), even, UNROLLED, lambda at, so_far: some(at, so_far, UNROLLED), sums)
    sums = b.loop(even, depth, 1, lambda at, so_far: some(at, so_far, 1), sums)
    for index, total in enumerate(sums):
        strip, row = divmod(index, tile.rows)
        panel, part = tile.strips[strip]
        column = int64(panel * PANEL + part * lanes)
        scale = b.load_vector(scales, column, floats)
        number = b.fmul(b.sitofp(total, floats), scale)
        result = b.fmul(number, b.splat(b.load(row_scales, int64(row)), lanes))
        b.store(result, out, b.add(b.mul(width, int64(row)), column))
    b.ret_void()
    return b.function


def _factors(b: Builder, dots: Dots, whole: ir.Value, depth: ir.Value, row: int, step: ir.Value) -> list[Read]:
    """What reads a row's numbers for a step of four inputs."""
    at = b.mul(b.add(b.mul(depth, int64(row)), step), int64(dots.words))
    return [partial(b.load, whole, b.add(at, int64(word)), INT32) for word in range(dots.words)]


def _weights(b: Builder, dots: Dots, packed: ir.Value, begin: ir.Value, step: ir.Value) -> ir.Value:
    """Of a step of four inputs."""
    at = b.mul(b.add(begin, b.mul(step, int64(PANEL))), int64(STEP))
    return b.load_vector(packed, at, ir.VectorType(INT8, dots.bytes.count))
