"""The KV memory: the tensors behind the block ids that the cache deals in."""

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from foreword.backends.cpu.kernels.ir_builder import LANES
from foreword.backends.cpu.kernels.kv_layout import store
from foreword.cache import CopyBlock

KV_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What keys and values can be kept in."""


@dataclass(frozen=True)
class LayerShape:
    """Key and value heads of one layer: how many, and the size of a key and of a value."""

    heads: int
    key_size: int
    value_size: int

    @property
    def value_panels(self) -> int:
        """Panels of 16 columns that a value takes in memory."""
        return -(-self.value_size // LANES)


class KVMemory:
    """Keys and values of every layer, in panels of 16 slots (kernels/kv_layout.py), head by head.

    Slot ``block * block_size + i`` is token i of a block. A layer's keys are [heads, panels, key_size, 16], its values
    [heads, panels, columns / 16, 16, 16], columns being value_size or up to 15 more, that stay zero.
    """

    def __init__(self, layers: list[LayerShape], num_blocks: int, block_size: int, dtype: torch.dtype):
        self.layers = layers
        self.block_size = block_size
        panels = -(-num_blocks * block_size // LANES)
        self.keys = [_zeros((layer.heads, panels, layer.key_size, LANES), dtype) for layer in layers]
        self.values = [_zeros((layer.heads, panels, layer.value_panels, LANES, LANES), dtype) for layer in layers]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys [heads, tokens, key_size] and values [heads, tokens, value_size] at ``slots`` [tokens]."""
        keys, values = (part.float() for part in (keys, values))
        keys, values = (part if part.stride(-1) == 1 else part.contiguous() for part in (keys, values))
        into = self.keys[layer], self.values[layer]
        store(keys, values, slots, into, into).run()

    def read(self, layer: int, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys [heads, tokens, key_size] and values [heads, tokens, value_size] at ``slots`` [tokens], as they are kept."""
        panels, lanes, shape = slots // LANES, slots % LANES, self.layers[layer]
        keys = self.keys[layer][:, panels, :, lanes].transpose(0, 1)
        values = self.values[layer][:, panels, :, lanes].transpose(0, 1).flatten(2)
        return keys, values[..., : shape.value_size]

    def copy(self, copies: Iterable[CopyBlock]) -> None:
        """Carry out the cache's copies, in every layer."""
        for copy in copies:
            source, target = copy.source * self.block_size, copy.target * self.block_size
            for at in range(0, copy.tokens, LANES):
                taken, given = (divmod(first + at, LANES) for first in (source, target))
                count = min(LANES, copy.tokens - at)
                for memory in (*self.keys, *self.values):
                    piece = memory[:, taken[0], :, taken[1] : taken[1] + count]
                    memory[:, given[0], :, given[1] : given[1] + count] = piece


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros whose pages the system gives at the first touch: memory that is never used is never taken.

    Mapped by itself: what an allocator hands out may have been used before, and is then cleared, page by page.
    """
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, access=mmap.ACCESS_COPY)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def bytes_per_block(layers: list[LayerShape], block_size: int, dtype: torch.dtype) -> int:
    """Bytes of KV memory that one block takes in all layers together."""
    per_token = sum(layer.heads * (layer.key_size + layer.value_panels * LANES) for layer in layers)
    return per_token * block_size * dtype.itemsize
