"""Q5_1: blocks of 32 codes of 5 bits, a scale and a smallest weight in float16."""

import torch

from foreword.backends.cpu.block_format import BlockFormat, BlockKind, Blocks
from foreword.backends.cpu.kernels.block_products import BlockLayout
from foreword.backends.cpu.kernels.dots import Bits, Codes
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.stored_blocks import fifth_bits, halves, nibbles, ranged, rows_of

LAYOUT = BlockLayout(planes=(4, 1), codes=Codes(31), minima=True)


def make(target: Target, activation_bits: Bits) -> BlockFormat:
    """The format for a target."""
    return BlockFormat(BlockKind("q5_1", LAYOUT, 32, 24, 0.1, _read, _made), target, activation_bits)


def _read(stored: torch.Tensor) -> Blocks:
    return Blocks(rows_of(nibbles(stored[..., 8:]) | fifth_bits(stored[..., 4:8])), halves(stored[..., :4]))


def _made(weights: torch.Tensor) -> Blocks:
    return ranged(weights, 31)
