"""Weights and rows as whole numbers up to 127: one scale for each output's weights, one for each row.

A quarter of float32's memory; the result is about 1 % off (of the largest) for random numbers. Sums of whole numbers are
exact, so their order does not matter. A row is scaled by its own largest number, never by the batch's. Two neighbours of a
row and of the weights are multiplied and added at a time, as processors do it best.
"""

from collections.abc import Sequence
from functools import cache

import torch
from llvmlite import binding, ir
from torch.nn import functional

from foreword.backends.cpu.kernels.compiler import Call, ObjectCache, kernel_module
from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT32,
    LANES,
    UNROLLED,
    VECTOR,
    Builder,
    begin_block,
    int64,
    rows_of,
    vector,
)
from foreword.backends.cpu.kernels.panel_products import PANEL, define_products, items_of, multiply_panels, panels_of
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.weight_format import PackedWeight, joined_rows, require_floats

LARGEST = 127
INT16 = ir.IntType(16)
EIGHT = ir.VectorType(INT32, PANEL)
EIGHT_FLOATS = ir.VectorType(FLOAT, PANEL)
SIXTEEN_SHORT = ir.VectorType(INT16, 2 * PANEL)
SIXTEEN_BYTES = ir.VectorType(ir.IntType(8), 2 * PANEL)

QUANTIZE = Signature("quantize", rows="pointer", size="int", pairs="int", whole="pointer", scales="pointer")
"""Rows [items, size] → whole numbers [items, pairs, 2] of 16 bits and their scales [items]."""
LINEAR = Signature(
    "linear",
    panels="int",
    rows="pointer",
    count="int",
    pairs="int",
    packed="pointer",
    out="pointer",
    width="int",
    row_scales="pointer",
    scales="pointer",
)
"""Whole rows [count, pairs, 2] times packed weights, by the scales of both → out [count, width]."""


class Int8:
    """See WeightFormat. Parts: panels [out / 8, in / 2, 8, 2] of int8, filled up with zeros, and scales [8 · panels]."""

    name = "int8"
    bits = 8.0
    error = 0.015
    joins_at = PANEL

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """See WeightFormat."""
        require_floats(self.name, weight)
        out_features, in_features = weight.shape
        panels, pairs = panels_of(out_features), -(-in_features // 2)
        padded = functional.pad(weight.float(), (0, 2 * pairs - in_features, 0, panels * PANEL - out_features))
        scales = padded.abs().amax(1).clamp_min_(1e-30).div_(LARGEST)
        whole = (padded / scales[:, None]).round_().to(torch.int8)
        packed = whole.view(panels, PANEL, pairs, 2).transpose(1, 2).contiguous()
        return PackedWeight(out_features, in_features, (packed, scales))

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """See WeightFormat."""
        return joined_rows(parts)

    def compile(self, objects: ObjectCache | None = None) -> None:
        """See WeightFormat."""
        int8_kernels.compile(objects=objects)

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """See WeightFormat. The rows as whole numbers, then the product."""
        out_features, in_features = sizes
        panels, pairs, count = panels_of(out_features), -(-in_features // 2), len(rows)
        packed, scales = parts
        whole, row_scales = rows.new_empty((count, pairs), dtype=torch.int32), rows.new_empty(count)
        kernels = int8_kernels()
        quantize = kernels[QUANTIZE].call(
            items=count, rows=rows, size=in_features, pairs=pairs, whole=whole, scales=row_scales
        )
        product = kernels[LINEAR].call(
            items=items_of(panels),
            panels=panels,
            rows=whole,
            count=count,
            pairs=pairs,
            packed=packed,
            out=out,
            width=panels * PANEL,
            row_scales=row_scales,
            scales=scales,
        )
        return [quantize, product]


@kernel_module(QUANTIZE, LINEAR)
def int8_kernels(module: ir.Module) -> None:
    """Rounding of rows, and the product."""
    _define_quantize(module)
    _define_linear(module)


def _define_quantize(module: ir.Module) -> None:
    """A row → whole numbers of 16 bits and the scale: the largest is 127. The scale of a row that is not finite is none."""
    with QUANTIZE.define(module) as (b, f):
        rows, whole, scales = f.rows, f.whole, f.scales
        even = b.and_(f.size, int64(-LANES))
        absolute = b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR])

        def row(item: ir.Value) -> None:
            source, target = (
                b.offset(rows, b.mul(item, f.size)),
                b.offset(whole, b.mul(item, b.mul(f.pairs, int64(2))), INT16),
            )

            def widen(numbers: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
                broken = b.fma(numbers, vector(0.0), so_far[1])
                return [b.maximum(b.call(absolute, [numbers]), so_far[0]), broken]

            seen = b.loop(
                int64(0), even, LANES, lambda at, s: widen(b.load_vector(source, at), s), [vector(0.0), vector(0.0)]
            )
            seen = b.loop(even, f.size, 1, lambda at, s: widen(b.splat(b.load(source, at)), s), seen)
            largest, broken = b.reduce(seen[0], b.maximum), b.reduce(seen[1], b.fadd)
            least = ir.Constant(FLOAT, 1e-30)
            scale = b.fdiv(b.maximum(largest, least), ir.Constant(FLOAT, float(LARGEST)))
            b.store(b.fadd(scale, broken), scales, item)

            def rounded(numbers: ir.Value) -> ir.Value:
                steps = b.fsub(b.fadd(b.fdiv(numbers, b.splat(scale)), vector(12582912.0)), vector(12582912.0))
                return b.trunc(b.fptosi(steps, ir.VectorType(INT32, LANES)), SIXTEEN_SHORT)

            def one(at: ir.Value, _: object) -> None:
                b.store(b.extract_element(rounded(b.splat(b.load(source, at))), ir.Constant(INT32, 0)), target, at)

            b.store(ir.Constant(INT16, 0), target, b.sub(b.mul(f.pairs, int64(2)), int64(1)))
            b.loop(int64(0), even, LANES, lambda at, _: b.store(rounded(b.load_vector(source, at)), target, at))
            b.loop(even, f.size, 1, one)

        b.parallel_for(f.taken, f.items, row)


def _define_linear(module: ir.Module) -> None:
    """The whole sums are put where the results go, then scaled."""
    products = define_products(module, _define_block)
    with LINEAR.define(module) as (b, f):
        rows, packed, out, row_scales, scales = f.rows, f.packed, f.out, f.row_scales, f.scales

        def given(panel: ir.Value) -> list[ir.Value]:
            column = b.mul(panel, int64(PANEL))
            weights = b.offset(packed, b.mul(b.mul(column, f.pairs), int64(2)), ir.IntType(8))
            return [f.count, rows, f.pairs, weights, int64(2 * PANEL), b.offset(out, column), f.width, f.pairs]

        def finish(panel: ir.Value, _: object) -> None:
            first = b.mul(panel, int64(PANEL))
            scale, column = b.load_vector(scales, first, EIGHT_FLOATS), b.offset(out, first)

            def one_row(row: ir.Value, _: object) -> None:
                at = b.mul(row, f.width)
                total = b.sitofp(b.load_vector(column, at, EIGHT), EIGHT_FLOATS)
                b.store(b.fmul(b.fmul(total, scale), b.splat(b.load(row_scales, row), PANEL)), column, at)

            b.loop(int64(0), f.count, 1, one_row)

        def some(item: ir.Value) -> None:
            first, end = multiply_panels(b, products, item, f.panels, given)
            b.loop(first, end, 1, finish)

        b.parallel_for(f.taken, f.items, some)


def _define_block(module: ir.Module, name: str, rows: int, panels: int) -> ir.Function:
    """Whole sums of a fixed number of rows and panels; two neighbours at a time, so depth and strides count pairs."""
    b, (a, a_stride, right, right_stride, c, c_stride, depth) = begin_block(module, name)
    lefts = rows_of(b, a, a_stride, rows)
    begins = [b.mul(b.mul(depth, right_stride), int64(panel)) for panel in range(panels)]

    def step(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        at = b.mul(k, right_stride)
        weights = [b.sext(b.load_vector(right, b.add(at, begin), SIXTEEN_BYTES), SIXTEEN_SHORT) for begin in begins]
        factors = [b.bitcast(b.splat(b.load(left, k, INT32), PANEL), SIXTEEN_SHORT) for left in lefts]
        products = [_pair_products(b, factor, panel) for factor in factors for panel in weights]
        return [b.add(total, product) for total, product in zip(sums, products, strict=True)]

    def steps(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        for index in range(UNROLLED):
            sums = step(b.add(k, int64(index)), sums)
        return sums

    whole = b.and_(depth, int64(-UNROLLED))
    sums = b.loop(int64(0), whole, UNROLLED, steps, [ir.Constant(EIGHT, [0] * PANEL)] * (rows * panels))
    sums = b.loop(whole, depth, 1, step, sums)
    for index, total in enumerate(sums):
        row, panel = divmod(index, panels)
        b.store(total, c, b.add(b.mul(c_stride, int64(row)), int64(PANEL * panel)))
    b.ret_void()
    return b.function


@cache
def _has_avx2() -> bool:
    """Of this machine; asking takes longer than all the rest of a product's definition."""
    return bool(binding.get_host_cpu_features().get("avx2"))


def _pair_products(b: Builder, one: ir.Value, other: ir.Value) -> ir.Value:
    """Sixteen products of int16, neighbours added: eight of int32. One instruction where the processor has AVX2."""
    if _has_avx2():
        return b.call(b.intrinsic("llvm.x86.avx2.pmadd.wd", EIGHT, [SIXTEEN_SHORT] * 2), [one, other])
    products = b.mul(*(b.sext(numbers, ir.VectorType(INT32, LANES)) for numbers in (one, other)))
    return b.add(*(b.shuffle(products, products, list(range(first, LANES, 2))) for first in (0, 1)))


FORMAT = Int8()
