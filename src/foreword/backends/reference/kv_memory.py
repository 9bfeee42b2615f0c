"""KV memory as one would write it down: a row of numbers for each slot."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from foreword.backends.base import LayerShape
from foreword.cache import CopyBlock


class RowMemory:
    """Keys of a layer [slots, heads, key_size], values [slots, heads, value_size]; in int8 the four bytes of a float32
    scale stand behind the numbers of each. See KVMemory."""

    layout = "rows"

    def __init__(self, layers: Sequence[LayerShape], num_blocks: int, block_size: int, dtype: torch.dtype):
        self.layers = tuple(layers)
        self.block_size = block_size
        slots = num_blocks * block_size
        more = scale_bytes(dtype)
        self._keys = [torch.zeros(slots, layer.heads, layer.key_size + more, dtype=dtype) for layer in layers]
        self._values = [torch.zeros(slots, layer.heads, layer.value_size + more, dtype=dtype) for layer in layers]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """See KVMemory."""
        for memory, given in ((self._keys[layer], keys), (self._values[layer], values)):
            memory[slots] = _kept(given.transpose(0, 1), memory.dtype)

    def read(self, layer: int, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See KVMemory."""
        keys, values = (_numbers(memory[layer][slots]).transpose(0, 1) for memory in (self._keys, self._values))
        return keys, values

    def copy(self, copies: Iterable[CopyBlock]) -> None:
        """See KVMemory."""
        for copy in copies:
            source, target = copy.source * self.block_size, copy.target * self.block_size
            for memory in (*self._keys, *self._values):
                memory[target : target + copy.tokens] = memory[source : source + copy.tokens]

    def read_blocks(self, blocks: Sequence[int]) -> npt.NDArray[np.uint8]:
        """See KVMemory. Layer by layer, keys then values, token by token."""
        chosen = torch.tensor(blocks, dtype=torch.long)
        return torch.cat([memory[chosen] for memory in self._raw()], 1).numpy()

    def write_blocks(self, blocks: Sequence[int], raw: npt.NDArray[np.uint8]) -> None:
        """See KVMemory."""
        chosen, parts = torch.tensor(blocks, dtype=torch.long), self._raw()
        sizes = [part.shape[1] for part in parts]
        if raw.shape != (len(blocks), sum(sizes)):
            raise ValueError(f"raw has shape {raw.shape}; {len(blocks)} blocks of {sum(sizes)} bytes were expected.")
        for memory, part in zip(parts, torch.split(torch.from_numpy(np.array(raw)), sizes, 1), strict=True):
            memory[chosen] = part

    def pieces(self, block: int) -> list[memoryview]:
        """See KVMemory."""
        return [part[block].numpy().data for part in self._raw()]

    def _raw(self) -> list[torch.Tensor]:
        """Views of the memory: uint8 [blocks, bytes]."""
        return [
            part.view(-1, self.block_size * part.shape[1] * part.shape[2]).view(torch.uint8)
            for pair in zip(self._keys, self._values, strict=True)
            for part in pair
        ]


def scale_bytes(dtype: torch.dtype) -> int:
    """Of the scale of a token's key, or of its value, in one head."""
    return 4 if dtype == torch.int8 else 0


def _kept(numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not scale_bytes(dtype):
        return numbers.to(dtype)
    step = numbers.float().abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return torch.cat([(numbers / step).round().to(dtype), step.view(dtype)], -1)


def _numbers(kept: torch.Tensor) -> torch.Tensor:
    scale = scale_bytes(kept.dtype)
    return kept[..., :-scale] * kept[..., -scale:].contiguous().view(torch.float32) if scale else kept
