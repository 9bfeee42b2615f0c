"""Q5_0: blocks of 32 codes of 5 bits, 16 being zero, and a scale in float16."""

import torch

from foreword.backends.cpu.block_format import BlockFormat, BlockKind, Blocks
from foreword.backends.cpu.kernels.block_products import BlockLayout
from foreword.backends.cpu.kernels.dots import Bits, Codes
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.stored_blocks import centred, fifth_bits, halves, nibbles, rows_of

LAYOUT = BlockLayout(planes=(4, 1), codes=Codes(31), zero=16)


def make(target: Target, activation_bits: Bits) -> BlockFormat:
    """The format for a target."""
    return BlockFormat(BlockKind("q5_0", LAYOUT, 32, 22, 0.1, _read, _made), target, activation_bits)


def _read(stored: torch.Tensor) -> Blocks:
    return Blocks(rows_of(nibbles(stored[..., 6:]) | fifth_bits(stored[..., 2:6])), halves(stored[..., :2]))


def _made(weights: torch.Tensor) -> Blocks:
    return centred(weights, 16, 31)
