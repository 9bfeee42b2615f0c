"""The KV memory: the tensors behind the block ids that the cache deals in."""

import math
import mmap
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import torch

from foreword.cache import CopyBlock

LARGE_TOKEN = 2048
"""Bytes of a token's keys, or values, in a layer, from which on the memory is in huge pages. They make reading long contexts
1.3 to 1.5 times as fast, but the first token in each waits until the system has cleared all of it."""
KV_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What keys and values can be kept in."""


@dataclass(frozen=True)
class LayerShape:
    """Key and value heads of one layer: how many, and the size of a key and of a value."""

    heads: int
    key_size: int
    value_size: int


class KVMemory:
    """Keys and values of every layer, head-major: [heads, slots, size].

    Slot ``block * block_size + i`` is token i of a block, so consecutive blocks are one view. Behind the last block there
    are ``block_size`` slots that stay zero: index them to read zeros.
    """

    def __init__(self, layers: list[LayerShape], num_blocks: int, block_size: int, dtype: torch.dtype):
        self.block_size = block_size
        self.zero_slot = num_blocks * block_size
        slots = self.zero_slot + block_size
        self.keys = [_zeros((layer.heads, slots, layer.key_size), dtype) for layer in layers]
        self.values = [_zeros((layer.heads, slots, layer.value_size), dtype) for layer in layers]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys [heads, tokens, key_size] and values [heads, tokens, value_size] at ``slots`` [tokens]."""
        memory = self.keys[layer]
        memory.index_copy_(1, slots, keys.to(memory.dtype))
        self.values[layer].index_copy_(1, slots, values.to(memory.dtype))

    def copy(self, copies: Iterable[CopyBlock]) -> None:
        """Carry out the cache's copies, in every layer."""
        size = self.block_size
        for copy in copies:
            source = slice(copy.source * size, copy.source * size + copy.tokens)
            target = slice(copy.target * size, copy.target * size + copy.tokens)
            for tensor in (*self.keys, *self.values):
                tensor[:, target] = tensor[:, source]


def _zeros(shape: tuple[int, int, int], dtype: torch.dtype) -> torch.Tensor:
    """Zeros whose pages the system gives at the first touch: memory that is never used is never taken.

    Mapped by itself: what an allocator hands out may have been used before, and is then cleared, page by page.
    """
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, access=mmap.ACCESS_COPY)
    heads, _, size = shape
    if hasattr(mmap, "MADV_HUGEPAGE") and heads * size * dtype.itemsize >= LARGE_TOKEN:
        with suppress(OSError):  # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def bytes_per_block(layers: list[LayerShape], block_size: int, dtype: torch.dtype) -> int:
    """Bytes of KV memory that one block takes in all layers together."""
    per_token = sum(layer.heads * (layer.key_size + layer.value_size) for layer in layers)
    return per_token * block_size * dtype.itemsize
