"""Q8_0: blocks of 32 whole numbers of 8 bits, and a scale in float16."""

import torch

from foreword.backends.cpu.block_format import BlockFormat, BlockKind, Blocks
from foreword.backends.cpu.kernels.block_products import BlockLayout
from foreword.backends.cpu.kernels.dots import LARGEST, Bits, Codes
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.whole_rows import BLOCK
from foreword.backends.cpu.stored_blocks import halves, rows_of

LAYOUT = BlockLayout(planes=(8,), codes=Codes(127, signed=True))


def make(target: Target, activation_bits: Bits) -> BlockFormat:
    """The format for a target."""
    return BlockFormat(BlockKind("q8_0", LAYOUT, 32, 34, 0.015, _read, _made), target, activation_bits)


def _read(stored: torch.Tensor) -> Blocks:
    return Blocks(rows_of(stored[..., 2:]).view(torch.int8), halves(stored[..., :2]))


def _made(weights: torch.Tensor) -> Blocks:
    blocks = weights.view(len(weights), -1, BLOCK)
    steps = (blocks.abs().amax(-1, keepdim=True) / LARGEST).half()
    shares = torch.where(steps == 0, torch.zeros(()), blocks / steps.float())
    return Blocks(rows_of(shares.round().clamp(-LARGEST, LARGEST).to(torch.int8)), steps)
