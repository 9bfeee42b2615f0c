"""Backend: the one interface between the engine and what computes a model, with all that passes through it.

A backend computes a model that transformers has built: it puts its own layers into it, keeps keys and values, and attends.
Tokens are stored in slots: slot ``block * block_size + i`` is token i of a block, the blocks being those of the cache.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from foreword.cache import CopyBlock
from foreword.errors import ModelError

LINEAR, MODELLING, ATTENTION = "linear layers", "other modelling code", "attention"
"""Parts of a forward pass, as a StepObserver is told of them."""


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
    """What a layer asks of attention besides its tensors, as transformers passes it."""

    layer: int
    scaling: float
    window: int | None = None
    """Keys further back than this are masked; None: all are seen."""
    softcap: float | None = None
    """Scores are squashed to ±softcap by tanh."""
    chunk: int | None = None
    """Positions are cut into chunks of so many, and only keys of a query's own chunk are seen; None: of all."""
    sinks: tuple[float, ...] | None = None
    """Of each query head a score that takes its share of the weights, and has no value."""


@dataclass(frozen=True)
class LayerShape:
    """Key and value heads of one layer: how many, and the size of a key and of a value."""

    heads: int
    key_size: int
    value_size: int


@dataclass(frozen=True)
class AttentionLayer:
    """A layer as its attention shows it: its call, its heads in memory, and how many query heads read them."""

    call: LayerCall
    shape: LayerShape
    query_heads: int


@dataclass(frozen=True)
class ProbedLayer:
    """What a run through the model has shown of one layer: its attention, its module, and what the module was given."""

    attention: AttentionLayer
    module: nn.Module
    arguments: dict[str, Any]
    repeats: bool = False
    """Whether it computes what the layer before it does, with other weights: known of layers that were built so."""


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer as a backend computes it: the module, [..., in_features] → [..., out_features]."""

    name: str
    """Of the module in the model."""
    module: nn.Module
    in_features: int
    out_features: int
    weight_bytes: int
    """What is read of memory for a product."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of the memory in which keys and values are kept."""

    free: int
    total: int


@dataclass(frozen=True)
class Numerics:
    """What the bits of keys and values depend on besides weights, formats and tokens.

    order
        How sums are ordered where a short prompt does not show it.
    machine
        What stands for bits where nothing better does: versions, the processor's vectors, threads.
    """

    order: str
    machine: str


@dataclass(frozen=True)
class Description:
    """A backend for logs, benchmarks and the cache's key.

    words
        What it computes with.
    weight_bits
        Bits that a weight of a linear layer takes; 32: plain float32.
    warnings
        What makes it slower than it need be.
    """

    words: str
    weight_bits: float
    numerics: Numerics
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendOptions:
    """What a backend is made for."""

    name: str
    """Of the backend."""
    block_size: int = 16
    """Tokens of a block."""
    kv_dtype: str = "float32"
    """What keys and values are kept in."""
    quantization: str = "none"
    """What linear layers are computed in; ``none``: float32."""
    activation_bits: int = 8
    """Of the whole numbers that rows are brought to, where a format of weights multiplies whole numbers."""
    kernel_path: str = "auto"
    """Which of the processor's instructions are made use of, by a name that the backend knows; ``auto``: the best it has."""
    kernel_folder: Path | None = None
    """Where compiled kernels are kept between runs; None: nowhere."""


class WeightSource(Protocol):
    """Where a model's weights come from, as far as a backend asks: a Checkpoint."""

    def block_formats(self) -> Mapping[str, str]:
        """Of each tensor that is stored in blocks of a weight format, by its name: that format. All others are numbers."""
        ...

    def blocks(self, name: str) -> torch.Tensor:
        """A tensor that is stored in blocks, as it is: uint8 [rows, bytes of a row]."""
        ...

    def tensor(self, name: str) -> torch.Tensor | None:
        """A tensor in numbers: as it is stored, or what its blocks stand for. None where there is none."""
        ...

    def release_pages(self) -> None:
        """Let go of the memory that holds what was read so far; it is read again if need be."""
        ...


class KVMemory(Protocol):
    """Keys and values of every layer, behind the block ids that the cache deals in."""

    @property
    def layers(self) -> Sequence[LayerShape]:
        """The shapes of the layers, in order."""
        ...

    @property
    def block_size(self) -> int:
        """Tokens of a block."""
        ...

    @property
    def layout(self) -> str:
        """Name of the order of numbers in a block: with dtype, block size and shapes it says what raw bytes mean."""
        ...

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys [heads, tokens, key_size] and values [heads, tokens, value_size] at ``slots`` [tokens], int64."""
        ...

    def read(self, layer: int, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values at ``slots``, shaped as they were written, in the dtype they are kept in; of int8 what it stands
        for, in float32."""
        ...

    def copy(self, copies: Iterable[CopyBlock]) -> None:
        """Carry out the cache's copies, in every layer, in their order."""
        ...

    def read_blocks(self, blocks: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Raw bytes of whole blocks, all layers: a copy, [blocks, bytes of a block]."""
        ...

    def pieces(self, block: int) -> list[memoryview]:
        """Where a block's bytes lie: writable views (format "B"), in an order that is the layout's. ConfigError where
        a block is less than the smallest piece."""
        ...

    def write_blocks(self, blocks: Sequence[int], raw: npt.NDArray[np.uint8]) -> None:
        """Put back what ``read_blocks`` of a memory of the same layout gave, in these blocks. ValueError for other sizes."""
        ...


Memory = TypeVar("Memory", bound=KVMemory)
MemoryIn = TypeVar("MemoryIn", bound=KVMemory, contravariant=True)


class Attention(Protocol[MemoryIn]):
    """Causal attention of a packed batch over cached KV. Stateless between steps."""

    @property
    def name(self) -> str:
        """As it is called in logs."""
        ...

    @property
    def bit_identical(self) -> bool:
        """Whether a token's result is meant to be the same bits whatever else is in the batch and however it is chunked."""
        ...

    def prepare(self, spans: list[Span], rows: int, memory: MemoryIn) -> Any:
        """What all layers of a step share: who reads what."""
        ...

    def attend(self, prepared: Any, memory: MemoryIn, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        """Query [heads, rows, key_size] → [rows, heads, value_size], the batch's own keys and values already stored.

        Rows that belong to no span come out as zeros.
        """
        ...


class StepObserver(Protocol):
    """Told when parts of a step begin and end, one inside another."""

    def begin(self, part: str) -> None:
        """``part`` begins, inside those that have begun and not ended."""
        ...

    def end(self) -> None:
        """The innermost part ends."""
        ...


class LayerStep(Protocol):
    """What every layer of one forward pass attends by; see ``running``."""

    def attend(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """A layer's attention: all tensors [heads, rows, size]; returns [rows, heads, value_size]."""
        ...


@dataclass(frozen=True)
class AttentionStep(Generic[Memory]):
    """A LayerStep over KV memory: one packed batch."""

    attention: Attention[Memory]
    memory: Memory
    slots: torch.Tensor
    """Where the batch's tokens are stored: int64 [tokens]."""
    prepared: Any
    observer: StepObserver | None = None
    spans: Sequence[Span] = ()
    rows: int = 0
    _chunked: dict[int, Any] = field(default_factory=dict)
    """What is prepared for layers that see chunks, by their size."""

    @classmethod
    def of(
        cls,
        attention: Attention[Memory],
        memory: Memory,
        spans: list[Span],
        rows: int,
        observer: StepObserver | None = None,
    ) -> "AttentionStep[Memory]":
        """The step of a batch of ``rows`` rows, of which the spans' come first, in order."""
        slots, prepared = slots_of(spans, memory.block_size), attention.prepare(spans, rows, memory)
        return cls(attention, memory, slots, prepared, observer, spans, rows)

    def attend(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store the batch's keys and values, then attend."""
        if self.observer is not None:
            self.observer.begin(ATTENTION)
        count = len(self.slots)
        self.memory.write(call.layer, self.slots, keys[:, :count], values[:, :count])
        prepared = self.prepared if call.chunk is None else self._in_chunks(call.chunk)
        out = self.attention.attend(prepared, self.memory, call, query)
        if self.observer is not None:
            self.observer.end()
        return out

    def _in_chunks(self, size: int) -> Any:
        """A chunk is a sequence of its own, which begins with the chunk's first block."""
        if size not in self._chunked:
            pieces = [piece for span in self.spans for piece in chunks_of(span, size, self.memory.block_size)]
            self._chunked[size] = self.attention.prepare(pieces, self.rows, self.memory)
        return self._chunked[size]


def chunks_of(span: Span, size: int, block_size: int) -> Iterator[Span]:
    """The parts of a span that lie in one chunk of ``size`` positions each, counted from the beginning of their chunk.

    ModelError for a size that is not made of whole blocks.
    """
    if size % block_size:
        raise ModelError(
            f"This model attends to chunks of {size} tokens, which are not made of whole blocks of {block_size}. Choose a "
            f"block_size that divides {size}."
        )
    for begin in range(span.start // size * size, span.end, size):
        start, end = max(span.start, begin), min(span.end, begin + size)
        yield Span(span.row + start - span.start, start - begin, end - begin, span.table[begin // block_size :])


_running: ContextVar[LayerStep] = ContextVar("running")


@contextmanager
def running(step: LayerStep) -> Iterator[None]:
    """Inside, layers of this thread find ``step`` by ``current_step``: model code need not hand it through."""
    token = _running.set(step)
    try:
        yield
    finally:
        _running.reset(token)


def current_step() -> LayerStep:
    """The step of the forward pass that is running. LookupError outside of one."""
    return _running.get()


def slots_of(spans: Sequence[Span], block_size: int) -> torch.Tensor:
    """Where the spans' tokens are stored, one span after another: int64 [tokens]."""
    slots = [np.empty(0, np.int64)]
    for span in spans:
        at = np.arange(span.start, span.end)
        slots.append(span.table[at // block_size].astype(np.int64) * block_size + at % block_size)
    return torch.from_numpy(np.concatenate(slots))


class Backend(Protocol[Memory]):
    """A device and a way of computing on it, made for one block size, one dtype of KV and one format of weights."""

    @property
    def options(self) -> BackendOptions:
        """What it was made for."""
        ...

    @property
    def attention(self) -> Attention[Memory]:
        """Its attention, over the memory that it makes."""
        ...

    def warm_up(self) -> None:
        """Compile what a step will call. May run in a thread of its own while weights are read."""
        ...

    def prepare(self, module: nn.Module, probed: list[ProbedLayer], source: WeightSource) -> bool:
        """Put this backend's layers into a float32 model, which computes the same but for the order of summation.

        ``probed`` are the model's layers, in order; it is empty in the end, so that a layer is let go when it has been
        packed. Returns whether all that KV come from is computed by its own kernels, in an order that is independent of the
        batch and of threads. ModelError for weights that cannot be packed.
        """
        ...

    def linear_layers(self, module: nn.Module) -> list[LinearLayer]:
        """The linear layers of a prepared model."""
        ...

    def linear(self, weight: torch.Tensor) -> nn.Module:
        """One linear layer without a bias, as this backend computes them; ``weight`` is float [out, in]."""
        ...

    def make_memory(self, layers: Sequence[LayerShape], num_blocks: int) -> Memory:
        """Zeroed memory for so many blocks. ConfigError when there is not enough."""
        ...

    def block_bytes(self, layers: Sequence[LayerShape]) -> int:
        """Bytes that one block takes in all layers together."""
        ...

    def device_memory(self) -> DeviceMemory:
        """What there is for KV memory, now."""
        ...

    def describe(self) -> Description:
        """In words and figures, as things are now."""
        ...
