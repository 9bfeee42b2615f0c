"""A linear layer's product: any number of rows with packed weights, each result summed in ascending order."""

from functools import cache

import torch
from llvmlite import ir
from torch.nn import functional

from foreword.engine.kernels.compiled import Call, Kernels, Value
from foreword.engine.kernels.emit import INT64, LANES, POINTER, Builder, define_product, int64


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
    return _kernels().call("linear", panels, rows, len(rows), depth, packed, out, panels * LANES)


@cache
def _kernels() -> Kernels:
    """An item is a panel, and all rows with it."""
    module = ir.Module("linear")
    product = define_product(module, "product", onto=False)
    b = Builder.of(module, "linear", [POINTER], internal=False)
    data = b.function.args[0]
    panels, rows_at, rows, depth, packed_at, out_at, width = (b.number(data, int64(field), INT64) for field in range(1, 8))
    x, packed, out = (b.inttoptr(address, POINTER) for address in (rows_at, packed_at, out_at))

    def panel(item: ir.Value) -> None:
        weights = b.at(packed, b.mul(item, b.mul(depth, int64(LANES))))
        column = b.at(out, b.mul(item, int64(LANES)))
        b.call(product, [rows, x, depth, weights, int64(LANES), column, width, depth])

    b.work(data, panels, panel)
    b.ret_void()
    return Kernels(module)
