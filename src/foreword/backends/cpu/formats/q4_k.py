"""Q4_K: eight blocks of 32 codes of 4 bits; their scales and minima are whole numbers of 6 bits, times a float16."""

import torch

from foreword.backends.cpu.block_format import BlockFormat, BlockKind, Blocks
from foreword.backends.cpu.kernels.block_products import BlockLayout
from foreword.backends.cpu.kernels.dots import Bits, Codes
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.stored_blocks import K_SCALES, apart, halves, k_scales, nested, nibbles, rows_of

LAYOUT = BlockLayout(planes=(4,), codes=Codes(15), minima=True, nested=True)


def make(target: Target, activation_bits: Bits) -> BlockFormat:
    """The format for a target."""
    return BlockFormat(BlockKind("q4_k", LAYOUT, 256, 144, 0.2, _read, _made), target, activation_bits)


def _read(stored: torch.Tensor) -> Blocks:
    steps = halves(stored[..., :4]) * torch.tensor([1, -1], dtype=torch.float16)  # minima are taken away
    factors = k_scales(stored[..., 4 : 4 + K_SCALES]).flatten(1, 2)
    codes = nibbles(apart(stored[..., 4 + K_SCALES :], 32))
    return Blocks(rows_of(codes), steps, factors)


def _made(weights: torch.Tensor) -> Blocks:
    return nested(weights, 15)
