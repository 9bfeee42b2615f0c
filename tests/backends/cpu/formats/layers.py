"""Layers of random numbers in any format, and products of it without a layer."""

import torch

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.packed_linear import PackedLinear
from foreword.backends.cpu.weight_format import PackedWeight, WeightFormat

SHAPES = [(64, 96), (192, 512), (256, 32)]
"""in, out"""


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(
    name: str, inside: int, outside: int, bias: bool = True, bits: Bits = 8
) -> tuple[PackedLinear, torch.Tensor, torch.Tensor]:
    """A layer in the format ``name``, its weights, and its bias, which is zero if it has none."""
    weight, offset = some(outside, inside, seed=inside + outside), some(outside, seed=1)
    format = weight_format(name, best_target(), bits)
    layer = PackedLinear(format, format.pack(weight), offset if bias else None)
    return layer, weight, offset if bias else torch.zeros(outside)


def product(format: WeightFormat, rows: torch.Tensor, packed: PackedWeight) -> torch.Tensor:
    """[rows, in] → [rows, out to the next whole group]."""
    group = format.joins_at
    out = rows.new_empty(len(rows), -(-packed.out_features // group) * group)
    for call in format.calls(rows, (packed.out_features, packed.in_features), packed.parts, out):
        call.run()
    return out
