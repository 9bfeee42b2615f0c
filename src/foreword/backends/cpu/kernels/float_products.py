"""Products with weights in floats: panels of outputs, gone through some at a time, and any number of rows.

Each result is one chain of fused multiply-adds in ascending order; weights of 16 bits are made float32 when they are read.
"""

from collections.abc import Callable

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import kernel_module
from foreword.backends.cpu.kernels.halves import INT16, read_bfloat16, read_float16
from foreword.backends.cpu.kernels.ir_builder import FLOAT, Builder, begin_block, define_rows, int64, rows_of, vector
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.target import Target

TOGETHER = 3
"""Panels that are gone through at a time: three streams come from memory faster than one."""
ROWS_TOGETHER = {16: (8, 4, 2, 1), 8: (4, 2, 1)}
"""So the rows of any product are taken: the sums of most rows and TOGETHER panels fill the registers, which are 32 of
AVX-512 and 16 of AVX2."""


LINEAR = Signature(
    "linear", panels="int", rows="pointer", count="int", depth="int", packed="pointer", out="pointer", width="int"
)
"""Rows [count, depth] times packed weights → out [count, width]."""


def panel_of(target: Target) -> int:
    """Outputs of a panel, whose weights stand side by side for each input: a vector's, or two of the shortest."""
    return max(target.lanes, 8)


def items_of(panels: int) -> int:
    """Units of work: some panels, and all rows with them."""
    return -(-panels // TOGETHER)


@kernel_module(LINEAR)
def float_kernels(module: ir.Module, target: Target, dtype: torch.dtype) -> None:
    """The product, of weights kept in ``dtype``."""
    panel, kept = panel_of(target), FLOAT if dtype == torch.float32 else INT16

    def define_block(module: ir.Module, name: str, rows: int, panels: int) -> ir.Function:
        return _define_block(module, name, rows, panels, target, dtype)

    products = _define_products(module, target, define_block)
    with LINEAR.define(module) as (b, f):
        rows, packed, out = f.rows, f.packed, f.out

        def given(number: ir.Value) -> list[ir.Value]:
            column = b.mul(number, int64(panel))
            weights = b.offset(packed, b.mul(column, f.depth), kept)
            return [f.count, rows, f.depth, weights, int64(panel), b.offset(out, column), f.width, f.depth]

        b.parallel_for(f.taken, f.items, lambda item: _multiply_panels(b, products, item, f.panels, given))


def _define_block(module: ir.Module, name: str, rows: int, panels: int, target: Target, dtype: torch.dtype) -> ir.Function:
    """C [rows, p · panels] = A [rows, depth] · panels B; the sums stay in registers."""
    panel = panel_of(target)
    b, (a, a_stride, right, right_stride, c, c_stride, depth) = begin_block(module, name)

    def read(right: ir.Value, at: ir.Value) -> ir.Value:
        if dtype == torch.float32:
            return b.load_vector(right, at, ir.VectorType(FLOAT, panel))
        return read_bfloat16(b, right, at, panel) if dtype == torch.bfloat16 else read_float16(b, target, right, at, panel)

    kept = FLOAT if dtype == torch.float32 else INT16
    rights = [b.offset(right, b.mul(b.mul(depth, right_stride), int64(number)), kept) for number in range(panels)]
    zeros = [vector(0.0, panel)] * (rows * panels)
    sums = b.multiply_accumulate(rows_of(b, a, a_stride, rows), rights, right_stride, depth, zeros, read=read)
    for index, total in enumerate(sums):
        row, number = divmod(index, panels)
        b.store(total, c, b.add(b.mul(c_stride, int64(row)), int64(number * panel)))
    b.ret_void()
    return b.function


def _define_products(
    module: ir.Module, target: Target, define: Callable[[ir.Module, str, int, int], ir.Function]
) -> dict[int, ir.Function]:
    """Products of any rows with TOGETHER panels, and with one; of what ``define`` defines for some rows and panels."""
    names, counts = {TOGETHER: "products", 1: "product"}, ROWS_TOGETHER[panel_of(target)]
    return {
        panels: define_rows(module, name, {rows: define(module, f"{name}{rows}", rows, panels) for rows in counts})
        for panels, name in names.items()
    }


def _multiply_panels(
    b: Builder,
    products: dict[int, ir.Function],
    item: ir.Value,
    panels: ir.Value,
    given: Callable[[ir.Value], list[ir.Value]],
) -> None:
    """Call the products for an item's panels, with what they are given from a panel on."""
    first = b.mul(item, int64(TOGETHER))
    end = b.minimum_int(b.add(first, int64(TOGETHER)), panels)
    with b.if_else(b.icmp_signed("==", b.sub(end, first), int64(TOGETHER))) as (then, otherwise):
        with then:
            b.call(products[TOGETHER], given(first))
        with otherwise:
            b.loop(first, end, 1, lambda panel, _: b.call(products[1], given(panel)))
