"""Q6_K: sixteen blocks of 16 codes of 6 bits, 32 being zero; their scales are whole numbers of 8 bits, times a float16."""

import torch

from foreword.backends.cpu.block_format import BlockFormat, BlockKind, Blocks
from foreword.backends.cpu.kernels.block_products import NESTED, BlockLayout
from foreword.backends.cpu.kernels.dots import LARGEST, Bits, Codes
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.whole_rows import BLOCK
from foreword.backends.cpu.stored_blocks import apart, bits_of, halves, nibbles, pairs_of, rows_of

LAYOUT = BlockLayout(planes=(4, 2), codes=Codes(63), zero=32, groups=2, nested=True)


def make(target: Target, activation_bits: Bits) -> BlockFormat:
    """The format for a target."""
    return BlockFormat(BlockKind("q6_k", LAYOUT, 256, 210, 0.05, _read, _made), target, activation_bits)


def _read(stored: torch.Tensor) -> Blocks:
    low, high, scales, step = torch.split(stored, [128, 64, 16, 2], -1)
    codes = nibbles(apart(low, 64)) | (bits_of(apart(high, 32), 2) << 4)
    factors = pairs_of(scales.contiguous().view(torch.int8))
    return Blocks(rows_of(codes), halves(step), factors)


def _made(weights: torch.Tensor) -> Blocks:
    blocks = weights.view(len(weights), -1, 2 * NESTED, BLOCK // 2)
    extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))[..., 0] / -32
    steps = (extreme.abs().amax(-1, keepdim=True) / LARGEST).half()
    factors = torch.where(steps == 0, torch.zeros(()), extreme / steps.float()).round()
    scales = (steps.float() * factors)[..., None]
    codes = (torch.where(scales == 0, torch.zeros(()), blocks / scales) + 32).round().clamp(0, 63).to(torch.uint8)
    return Blocks(rows_of(codes), steps, pairs_of(factors.to(torch.int8)))
