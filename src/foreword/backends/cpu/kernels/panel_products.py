"""What the products of all weight formats share: panels of outputs, gone through some at a time, and any number of rows."""

from collections.abc import Callable

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import Builder, define_rows, int64

PANEL = 8
"""Outputs of a panel, whose weights stand side by side for each input."""
TOGETHER = 3
"""Panels that are gone through at a time: three streams come from memory faster than one, and the sums of 4 rows and 3
panels fill the registers of AVX2."""
ROWS_TOGETHER = (4, 2, 1)
"""So the rows of any product are taken."""


def panels_of(out_features: int) -> int:
    """How many panels so many outputs fill, the last perhaps in part."""
    return -(-out_features // PANEL)


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
