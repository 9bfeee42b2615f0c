"""Blocks of weights as ggml stores them, taken apart; and floats brought to blocks, by the plainest rules.

Stored blocks are uint8 [rows, blocks, bytes]. A model's own files are better quantised than what is made here of floats.
"""

import torch

from foreword.backends.cpu.block_format import Blocks
from foreword.backends.cpu.kernels.block_products import NESTED
from foreword.backends.cpu.kernels.whole_rows import BLOCK

LARGEST_HALF = 65504.0
K_SCALES = 12
"""Bytes of the eight scales and minima of 6 bits of a block of 256."""


def halves(stored: torch.Tensor) -> torch.Tensor:
    """float16 numbers, of two bytes each."""
    return stored.contiguous().view(torch.float16)


def apart(stored: torch.Tensor, size: int) -> torch.Tensor:
    """Bytes in groups of so many: [..., bytes] → [..., groups, size]."""
    return stored.reshape(*stored.shape[:-1], -1, size)


def pairs_of(factors: torch.Tensor) -> torch.Tensor:
    """Scales of groups of 16, [rows, blocks, groups] → of blocks of 32, [rows, blocks, 2]."""
    return factors.reshape(len(factors), -1, 2)


def nibbles(stored: torch.Tensor) -> torch.Tensor:
    """Codes of 4 bits [..., bytes] → [..., 2 · bytes]: all lower ones, then all upper ones."""
    return torch.cat([stored & 15, stored >> 4], -1)


def bits_of(stored: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes of so few bits: the lowest of all bytes, then the next."""
    return torch.cat([(stored >> place) & (2**bits - 1) for place in range(0, 8, bits)], -1)


def fifth_bits(stored: torch.Tensor) -> torch.Tensor:
    """The 32 bits of four bytes, one after the other, where a fifth bit is: 0 or 16."""
    bits = torch.stack([(stored >> place) & 1 for place in range(8)], -1)
    return bits.flatten(-2) << 4


def k_scales(stored: torch.Tensor) -> torch.Tensor:
    """Scales and minima of a block of 256: uint8 [..., 12] → [..., 8, 2]."""
    low, high, both = torch.split(stored, 4, -1)
    scales = torch.cat([low & 63, (both & 15) | ((low >> 2) & 48)], -1)
    minima = torch.cat([high & 63, (both >> 4) | ((high >> 2) & 48)], -1)
    return torch.stack([scales, minima], -1)


def rows_of(codes: torch.Tensor) -> torch.Tensor:
    """Codes [rows, blocks, ...] → [rows, weights]."""
    return codes.flatten(1)


def centred(weights: torch.Tensor, zero: int, largest: int) -> Blocks:
    """Floats in blocks of 32, whose code ``zero`` is 0 and whose largest number has the lowest code."""
    blocks = weights.view(len(weights), -1, BLOCK)
    extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    steps = (extreme / -zero).half()
    codes = (_shares(blocks, steps.float()) + zero).round().clamp(0, largest).to(torch.uint8)
    return Blocks(rows_of(codes), steps)


def ranged(weights: torch.Tensor, largest: int) -> Blocks:
    """Floats in blocks of 32, the codes from 0 to ``largest`` being spread from their smallest to their largest number."""
    blocks = weights.view(len(weights), -1, BLOCK)
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    steps, minima = ((high - low) / largest).half(), low.half()
    codes = _shares(blocks - minima.float(), steps.float()).round().clamp(0, largest).to(torch.uint8)
    return Blocks(rows_of(codes), torch.cat([steps, minima], -1))


def nested(weights: torch.Tensor, largest: int) -> Blocks:
    """The same, scales and minima being whole numbers up to 63; no smallest number is above 0."""
    blocks = weights.view(len(weights), -1, NESTED, BLOCK)
    low = blocks.amin(-1).clamp_max(0)
    found = torch.stack([(blocks.amax(-1) - low).clamp_min(0) / largest, low], -1)
    steps = (found.abs().amax(2, keepdim=True) / 63 * torch.tensor([1, -1])).half()
    factors = _shares(found, steps.float()).round().clamp(0, 63)
    scale, minimum = (steps.float() * factors)[..., None].unbind(-2)
    codes = _shares(blocks - minimum, scale).round().clamp(0, largest).to(torch.uint8)
    return Blocks(rows_of(codes), steps[:, :, 0], factors.to(torch.uint8).flatten(1, 2))


def _shares(numbers: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """How many steps numbers are; none of a step of 0."""
    return torch.where(steps == 0, torch.zeros(()), numbers / steps)
