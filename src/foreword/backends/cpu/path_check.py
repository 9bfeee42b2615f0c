"""Whether a path computes what it should, on the machine at hand: a few rows, against the plain product."""

import torch

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.whole_rows import BLOCK

ROWS, INSIDE, OUTSIDE = 15, 512, 49
"""As many as the tiles of a product take in turn, and a panel that is not full."""
LARGEST = 127
TOLERANCE = 2e-6
"""Of the sum of all products' sizes: what rounding of so many additions in float32 can come to."""


def differs(target: Target, name: str, activation_bits: Bits) -> bool:
    """Whether the products of a format, for rows of so many bits, are not those of its weights in float64. Rows are whole
    numbers that every format takes as they are, so nothing but the order of additions may tell both apart."""
    format, random = weight_format(name, target, activation_bits), torch.Generator().manual_seed(0)
    rows = torch.randint(-LARGEST, LARGEST + 1, (ROWS, INSIDE), generator=random).float()
    rows[:, ::BLOCK] = LARGEST
    packed = format.pack(torch.randn(OUTSIDE, INSIDE, generator=random))
    out = torch.empty(ROWS, -(-OUTSIDE // format.joins_at) * format.joins_at)
    for call in format.calls(rows, (OUTSIDE, INSIDE), packed.parts, out):
        call.run()
    weights = format.rows(packed, torch.arange(OUTSIDE)).double()
    exact, sizes = rows.double() @ weights.T, rows.double().abs() @ weights.abs().T
    return not bool(((out[:, :OUTSIDE].double() - exact).abs() <= TOLERANCE * sizes).all())
