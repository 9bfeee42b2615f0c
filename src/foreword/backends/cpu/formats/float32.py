"""Weights as they are: float32 in panels of 8 outputs, each result one chain of fused multiply-adds in ascending order."""

from collections.abc import Sequence

import torch
from llvmlite import ir
from torch.nn import functional

from foreword.backends.cpu.kernels.compiler import Call, ObjectCache, kernel_module
from foreword.backends.cpu.kernels.ir_builder import begin_block, int64, rows_of, vector
from foreword.backends.cpu.kernels.panel_products import PANEL, define_products, items_of, multiply_panels, panels_of
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.weight_format import PackedWeight, joined_rows, require_floats

LINEAR = Signature(
    "linear", panels="int", rows="pointer", count="int", depth="int", packed="pointer", out="pointer", width="int"
)
"""Rows [count, depth] times packed weights → out [count, width]."""


class Float32:
    """See WeightFormat. The part: panels [out / 8, in, 8], the last filled up with zeros."""

    name = "float32"
    bits = 32.0
    error = 1e-5
    joins_at = PANEL

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """See WeightFormat."""
        require_floats(self.name, weight)
        out_features, in_features = weight.shape
        panels = panels_of(out_features)
        padded = functional.pad(weight.float(), (0, 0, 0, panels * PANEL - out_features))
        packed = padded.reshape(panels, PANEL, in_features).transpose(1, 2).contiguous()
        return PackedWeight(out_features, in_features, (packed,))

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """See WeightFormat."""
        return joined_rows(parts)

    def compile(self, objects: ObjectCache | None = None) -> None:
        """See WeightFormat."""
        linear_kernels.compile(objects=objects)

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """See WeightFormat."""
        out_features, in_features = sizes
        panels = panels_of(out_features)
        product = linear_kernels()[LINEAR].call(
            items=items_of(panels),
            panels=panels,
            rows=rows,
            count=len(rows),
            depth=in_features,
            packed=parts[0],
            out=out,
            width=panels * PANEL,
        )
        return [product]


@kernel_module(LINEAR)
def linear_kernels(module: ir.Module) -> None:
    """The product."""
    products = define_products(module, _define_block)
    with LINEAR.define(module) as (b, f):
        rows, packed, out = f.rows, f.packed, f.out

        def given(panel: ir.Value) -> list[ir.Value]:
            column = b.mul(panel, int64(PANEL))
            weights = b.offset(packed, b.mul(column, f.depth))
            return [f.count, rows, f.depth, weights, int64(PANEL), b.offset(out, column), f.width, f.depth]

        b.parallel_for(f.taken, f.items, lambda item: multiply_panels(b, products, item, f.panels, given))


def _define_block(module: ir.Module, name: str, rows: int, panels: int) -> ir.Function:
    """C [rows, 8 · panels] = A [rows, depth] · panels B; the sums stay in registers."""
    b, (a, a_stride, right, right_stride, c, c_stride, depth) = begin_block(module, name)
    rights = rows_of(b, right, b.mul(depth, right_stride), panels)
    zeros = [vector(0.0, PANEL)] * (rows * panels)
    sums = b.multiply_accumulate(rows_of(b, a, a_stride, rows), rights, right_stride, depth, zeros)
    for index, total in enumerate(sums):
        row, panel = divmod(index, panels)
        b.store(total, c, b.add(b.mul(c_stride, int64(row)), int64(panel * PANEL)))
    b.ret_void()
    return b.function


FORMAT = Float32()
