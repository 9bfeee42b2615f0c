"""A linear layer's product: any number of rows with packed weights, each result summed in ascending order."""

from functools import cache

import torch
from llvmlite import ir
from torch.nn import functional

from foreword.engine.kernels.compiled import Call, Kernels, Value
from foreword.engine.kernels.emit import FEW_ROWS, INT64, LANES, POINTER, Builder, define_pair_product, define_product, int64


def pack(weight: torch.Tensor) -> torch.Tensor:
    """[out, in] → [out / 16, in, 16]: panels of 16 outputs, the last filled up with zeros."""
    out_features, in_features = weight.shape
    panels = -(-out_features // LANES)
    if out_features % LANES:
        weight = functional.pad(weight, (0, 0, 0, panels * LANES - out_features))
    return weight.reshape(panels, LANES, in_features).transpose(1, 2).contiguous()


def multiply(rows: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """float32 [rows, in], contiguous, with packed weights → [rows, 16 · panels]."""
    out = rows.new_empty(len(rows), len(packed) * LANES)
    product(rows, packed, packed.shape[:2], out).run()
    return out


def product(rows: torch.Tensor, packed: Value, sizes: tuple[int, ...], out: torch.Tensor) -> Call:
    """The same into ``out``; ``sizes`` are panels and depth of the packed weights, which may be those of several layers."""
    panels, depth = sizes
    together = panels_together(panels, len(rows))
    return _kernels().call("linear", panels // together, rows, len(rows), depth, packed, out, panels * LANES, together)


def panels_together(panels: int, rows: int) -> int:
    """How many panels are read at a time."""
    return 2 if rows <= FEW_ROWS and panels % 2 == 0 else 1


@cache
def _kernels() -> Kernels:
    """An item is a panel, or two that are read together, and all rows with it."""
    module = ir.Module("linear")
    one, two = define_product(module, "product"), define_pair_product(module, "pair")
    b = Builder.of(module, "linear", [POINTER], internal=False)
    data = b.function.args[0]
    items, rows_at, rows, depth, packed_at, out_at, width, together = (
        b.number(data, int64(field), INT64) for field in range(1, 9)
    )
    x, packed, out = (b.inttoptr(address, POINTER) for address in (rows_at, packed_at, out_at))
    paired = b.icmp_signed("==", together, int64(2))

    def panels(item: ir.Value) -> None:
        first = b.mul(b.mul(item, together), int64(LANES))
        given = [rows, x, depth, b.at(packed, b.mul(first, depth)), int64(LANES), b.at(out, first), width, depth]
        with b.if_else(paired) as (then, otherwise):
            with then:
                b.call(two, given)
            with otherwise:
                b.call(one, given)

    b.work(data, items, panels)
    b.ret_void()
    return Kernels(module)
