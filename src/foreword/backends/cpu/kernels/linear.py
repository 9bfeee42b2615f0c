"""A linear layer's product: any number of rows with packed weights, each result summed in ascending order."""

from collections.abc import Callable

import torch
from llvmlite import ir
from torch.nn import functional

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.ir_builder import (
    Builder,
    begin_block,
    define_rows,
    int64,
    rows_of,
    vector,
)
from foreword.backends.cpu.kernels.signature import Argument, Signature

PANEL = 8
"""Outputs of a panel, whose weights stand side by side for each input."""
TOGETHER = 3
"""Panels that are gone through at a time: three streams come from memory faster than one, and the sums of 4 rows and 3
panels fill the registers of AVX2."""
ROWS_TOGETHER = (4, 2, 1)
"""So the rows of any product are taken."""

LINEAR = Signature(
    "linear", panels="int", rows="pointer", count="int", depth="int", packed="pointer", out="pointer", width="int"
)
"""Rows [count, depth] times packed weights → out [count, width]."""


def pack(weight: torch.Tensor) -> torch.Tensor:
    """[out, in] → [out / 8, in, 8]: panels of 8 outputs, the last filled up with zeros."""
    out_features, in_features = weight.shape
    panels = -(-out_features // PANEL)
    if out_features % PANEL:
        weight = functional.pad(weight, (0, 0, 0, panels * PANEL - out_features))
    return weight.reshape(panels, PANEL, in_features).transpose(1, 2).contiguous()


def multiply(rows: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """float32 [rows, in], contiguous, with packed weights → [rows, 8 · panels]."""
    out = rows.new_empty(len(rows), len(packed) * PANEL)
    product(rows, packed, packed.shape[:2], out).run()
    return out


def product(rows: torch.Tensor, packed: Argument, sizes: tuple[int, ...], out: torch.Tensor) -> Call:
    """The same into ``out``; ``sizes`` are panels and depth of the packed weights, which may be those of several layers."""
    panels, depth = sizes
    return linear_kernels()[LINEAR].call(
        items=items_of(panels),
        panels=panels,
        rows=rows,
        count=len(rows),
        depth=depth,
        packed=packed,
        out=out,
        width=panels * PANEL,
    )


def items_of(panels: int) -> int:
    """Units of work: some panels, and all rows with them."""
    return -(-panels // TOGETHER)


def define_products(module: ir.Module, define: Callable[[ir.Module, str, int, int], ir.Function]) -> dict[int, ir.Function]:
    """Products of any rows with TOGETHER panels, and with one; of what ``define`` defines for some rows and panels."""
    names = {TOGETHER: "products", 1: "product"}
    return {
        panels: define_rows(module, name, {rows: define(module, f"{name}{rows}", rows, panels) for rows in ROWS_TOGETHER})
        for panels, name in names.items()
    }


def multiply_panels(
    b: Builder,
    products: dict[int, ir.Function],
    item: ir.Value,
    panels: ir.Value,
    given: Callable[[ir.Value], list[ir.Value]],
) -> tuple[ir.Value, ir.Value]:
    """Call the products for an item's panels, with what they are given from a panel on; returns the first and the end."""
    first = b.mul(item, int64(TOGETHER))
    end = b.minimum_int(b.add(first, int64(TOGETHER)), panels)
    with b.if_else(b.icmp_signed("==", b.sub(end, first), int64(TOGETHER))) as (then, otherwise):
        with then:
            b.call(products[TOGETHER], given(first))
        with otherwise:
            b.loop(first, end, 1, lambda panel, _: b.call(products[1], given(panel)))
    return first, end


@kernel_module(LINEAR)
def linear_kernels(module: ir.Module) -> None:
    """The kernel of linear layers in float32."""
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
