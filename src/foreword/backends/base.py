"""What an attention backend is: the one interface between the model's layers and the KV memory."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from foreword.backends.cpu.kv_memory import KVMemory


@dataclass(frozen=True, slots=True)
class Span:
    """One request's rows of the packed batch: rows [row, row + end - start) are its tokens [start, end)."""

    row: int
    start: int
    end: int
    table: npt.NDArray[np.int32]
    """Block ids of tokens 0, block_size, ... up to ``end``."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """What a layer asks for besides its tensors, as transformers passes it."""

    layer: int
    scaling: float
    window: int | None = None
    """Keys further back than this are masked; None: all are seen."""
    softcap: float | None = None
    """Scores are squashed to ±softcap by tanh."""


class AttentionBackend(Protocol):
    """Causal attention of a packed batch over cached KV. Stateless between steps."""

    name: str
    bit_identical: bool
    """Whether a token's result is meant to be the same bits whatever else is in the batch and however it is chunked."""

    def prepare(self, spans: list[Span], rows: int, memory: KVMemory) -> Any:
        """What all layers of a step share: who reads which tile."""
        ...

    def attend(self, prepared: Any, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        """Query [heads, rows, key_size] → [rows, heads, value_size], the batch's own keys and values already stored.

        Rows that belong to no span come out as zeros.
        """
        ...


@dataclass
class AttentionStep:
    """Handed through the model to every layer of one step."""

    backend: AttentionBackend
    memory: KVMemory
    slots: torch.Tensor
    """Where the batch's tokens are stored: int64 [tokens]."""
    prepared: Any

    def run(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store the batch's keys and values [heads, rows, size], then attend."""
        count = len(self.slots)
        self.memory.write(call.layer, self.slots, keys[:, :count], values[:, :count])
        return self.backend.attend(self.prepared, self.memory, call, query)
