"""The CPU's KV memory: keys and values in panels, as the kernels read them."""

import functools
import itertools
import math
import mmap
from collections.abc import Iterable, Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import torch

from foreword.backends.base import LayerShape
from foreword.backends.cpu.kernels.ir_builder import LANES
from foreword.backends.cpu.kernels.kv_layout import scale_rows, store
from foreword.backends.cpu.kernels.target import Target
from foreword.cache import CopyBlock
from foreword.errors import ConfigError


class PanelMemory:
    """Keys and values of every layer, in panels of 16 slots (kernels/kv_layout.py), head by head. See KVMemory.

    ``dtype`` is float32, bfloat16, or int8 with two scales a token and head, of its key and of its value. Slot
    ``block * block_size + i`` is token i of a block. A layer's keys are [heads, panels, key_size, 16], in int8 with eight
    rows more, the scales; its values are [heads, panels, columns / 16, 16, 16], columns being value_size or up to 15 more,
    that stay zero.
    """

    layout = f"panels of {LANES}"

    def __init__(self, target: Target, layers: Sequence[LayerShape], num_blocks: int, block_size: int, dtype: torch.dtype):
        """ConfigError if the system does not give that much."""
        self._target = target
        self.layers = tuple(layers)
        self.block_size = block_size
        panels = -(-num_blocks * block_size // LANES)
        self.keys = [_zeros((layer.heads, panels, layer.key_size + scale_rows(dtype), LANES), dtype) for layer in layers]
        self.values = [_zeros((layer.heads, panels, value_panels(layer), LANES, LANES), dtype) for layer in layers]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """See KVMemory."""
        keys, values = (part.float() for part in (keys, values))
        keys, values = (part if part.stride(-1) == 1 else part.contiguous() for part in (keys, values))
        into = self.keys[layer], self.values[layer]
        store(self._target, keys, values, slots, into, into).run()

    def read(self, layer: int, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See KVMemory."""
        panels, lanes, shape = slots // LANES, slots % LANES, self.layers[layer]
        keys = self.keys[layer][:, panels, :, lanes].transpose(0, 1)
        values = self.values[layer][:, panels, :, lanes].transpose(0, 1).flatten(2)
        numbers = keys[..., : shape.key_size], values[..., : shape.value_size]
        if not scale_rows(keys.dtype):
            return numbers
        scales = keys[..., shape.key_size :].contiguous().view(torch.float32)
        return numbers[0] * scales[..., :1], numbers[1] * scales[..., 1:]

    def copy(self, copies: Iterable[CopyBlock]) -> None:
        """See KVMemory."""
        for copy in copies:
            source, target = copy.source * self.block_size, copy.target * self.block_size
            for at in range(0, copy.tokens, LANES):
                taken, given = (divmod(first + at, LANES) for first in (source, target))
                count = min(LANES, copy.tokens - at)
                for memory in (*self.keys, *self.values):
                    piece = memory[:, taken[0], :, taken[1] : taken[1] + count]
                    memory[:, given[0], :, given[1] : given[1] + count] = piece

    def read_blocks(self, blocks: Sequence[int]) -> npt.NDArray[np.uint8]:
        """See KVMemory. Layer by layer, keys then values; of each the panels as they lie, or a panel's lanes one by one."""
        parts, places = [], self._places(blocks)
        for memory in self._parts():
            part = memory[places]  # indexed dimensions first where there are two
            part = part if self._lanes_apart else part.transpose(0, 1)
            parts.append(part.flatten(1).contiguous().view(torch.uint8))
        return torch.cat(parts, 1).numpy()

    def pieces(self, block: int) -> list[memoryview]:
        """See KVMemory. Of each layer the keys, then the values, head by head."""
        if self._lanes_apart:
            raise ConfigError(
                f"Blocks of {self.block_size} tokens lie in pieces too small to be stored; block_size must be a multiple of "
                f"{LANES} where there is a store."
            )
        panels, pieces = self.block_size // LANES, list[memoryview]()
        for size, heads in self._heads:
            pieces += map(itemgetter(slice(block * panels * size, (block + 1) * panels * size)), heads)
        return pieces

    @functools.cached_property
    def _heads(self) -> list[tuple[int, list[memoryview]]]:
        """Bytes of each layer's keys and values, head by head; those of which a panel takes as many bytes together."""
        parts = [part.flatten(2).view(torch.uint8) for part in self._parts()]
        alike = itertools.groupby(parts, lambda part: part.shape[2])
        return [(size, [head.flatten().numpy().data for part in some for head in part]) for size, some in alike]

    def write_blocks(self, blocks: Sequence[int], raw: npt.NDArray[np.uint8]) -> None:
        """See KVMemory."""
        parts = self._parts()
        sizes = [part.numel() * part.itemsize // (part.shape[1] * LANES) * self.block_size for part in parts]
        if raw.shape != (len(blocks), sum(sizes)):
            raise ValueError(f"raw has shape {raw.shape}; {len(blocks)} blocks of {sum(sizes)} bytes were expected.")
        places = self._places(blocks)
        for memory, part in zip(parts, torch.split(torch.from_numpy(np.array(raw)), sizes, 1), strict=True):
            like = memory[places] if self._lanes_apart else memory[places].transpose(0, 1)
            given = part.contiguous().view(memory.dtype).view(like.shape)
            memory[places] = given if self._lanes_apart else given.transpose(0, 1)

    def _parts(self) -> list[torch.Tensor]:
        return [part for pair in zip(self.keys, self.values, strict=True) for part in pair]

    @property
    def _lanes_apart(self) -> bool:
        """Whether a block is less than a panel."""
        return self.block_size % LANES != 0

    def _places(self, blocks: Sequence[int]) -> tuple[slice | torch.Tensor, ...]:
        """Index of the blocks' numbers in a layer's keys or values."""
        first = torch.tensor(blocks, dtype=torch.long)[:, None] * self.block_size
        if not self._lanes_apart:
            return slice(None), first // LANES + torch.arange(self.block_size // LANES)
        slots = first + torch.arange(self.block_size)
        return slice(None), slots // LANES, slice(None), slots % LANES


def value_panels(layer: LayerShape) -> int:
    """Panels of 16 columns that a layer's value takes in memory."""
    return -(-layer.value_size // LANES)


def block_bytes(layers: Sequence[LayerShape], block_size: int, dtype: torch.dtype) -> int:
    """Bytes of panels that one block takes in all layers together."""
    scales = scale_rows(dtype)
    per_token = sum(layer.heads * (layer.key_size + scales + value_panels(layer) * LANES) for layer in layers)
    return per_token * block_size * dtype.itemsize


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros whose pages the system gives at the first touch: memory that is never used is never taken.

    Mapped by itself: what an allocator hands out may have been used before, and is then cleared, page by page.
    """
    size = math.prod(shape) * dtype.itemsize
    try:
        memory = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise ConfigError(
            f"The system does not give {size} bytes for a layer's keys or values ({error}). Set kv_cache_memory_bytes lower."
        ) from error
    return torch.frombuffer(memory, dtype=dtype).view(shape)
