"""The start-up self-test: are a token's bits independent of its batch, of its chunk and of its blocks, on this machine?

It runs the model's own linear layers (one of each shape) and the backend's attention, as each kind of the model's layers
calls it, on random numbers. Kernels have the property by construction; a compiler and a machine have to keep it. Where
layers are transformers' own code, the whole model is run as well, in chunks and beside another prompt.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from foreword.backends.base import AttentionLayer, Backend, LinearLayer, Span, slots_of
from foreword.engine.load_check import bits_of_chunks_differ
from foreword.engine.model import LoadedModel

MOST_ROWS = 512
LEAST_ROWS = 8
WORK = 2**29
"""Multiplications for the most rows of a layer: a few milliseconds. Large layers get fewer rows."""
SOME_ROWS = (1, 2, 3, 5, 8, 17, 33)
FEW_ROWS = (1, 3)
"""For layers that get the fewest rows: reading their weights is what takes time."""
CONTEXT = 600
CHUNKS = ((0, 1), (40, 59), (250, 262), (511, 513), (530, 600), (599, 600))
"""Within a tile of attention, across tiles, and single tokens."""


@dataclass(frozen=True)
class SelfTest:
    """Outcome: what differed, if anything, how long the test took, and the day of a test that an earlier start passed."""

    failures: tuple[str, ...]
    seconds: float
    kept_from: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing differed."""
        return not self.failures

    @property
    def message(self) -> str:
        """The outcome in a sentence."""
        if self.kept_from:
            return (
                f"Self-test passed on {self.kept_from}, on this machine with this model: results do not depend on batch or "
                f"chunks, to the bit. start_cache_dir='off' tests at each start."
            )
        if self.passed:
            return "Self-test passed: results do not depend on batch or chunks, to the bit."
        return (
            "Self-test: on this machine some results depend on batch or chunks in their last bits, so a hit may change an "
            f"answer within rounding ({'; '.join(self.failures)}). Another number of threads may help."
        )


def run_self_test(model: LoadedModel, backend: Backend[Any]) -> SelfTest:
    """Check every shape of linear layer, and the attention of every kind of layer."""
    start = time.perf_counter()
    failures: dict[str, None] = {}
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        layers = backend.linear_layers(model.module)
        linear = {(layer.weight_bytes, layer.in_features, layer.out_features): layer for layer in layers}
        for layer in linear.values():
            if not _rows_are_independent(layer, random):
                failures[f"linear layer {layer.in_features} to {layer.out_features}"] = None
        for kind in dict.fromkeys(_anywhere(layer) for layer in model.layers):
            if not _chunks_are_independent(_Sequence(kind, backend, random), kind, backend, random):
                failures[_attention_in_words(kind, backend)] = None
        if not model.own_kernels and bits_of_chunks_differ(model.module, model.shapes, backend, model.vocab_size):
            failures[f"the layers of {type(model.module).__name__}"] = None
    return SelfTest(tuple(failures), time.perf_counter() - start)


def _rows_are_independent(layer: LinearLayer, random: torch.Generator) -> bool:
    most = min(MOST_ROWS, max(LEAST_ROWS, WORK // (layer.in_features * layer.out_features) // 2 * 2))
    rows = torch.randn(most, layer.in_features, generator=random)
    whole = layer.module(rows)
    counts = SOME_ROWS if most > LEAST_ROWS else FEW_ROWS
    return all(torch.equal(layer.module(rows[-count:]), whole[-count:]) for count in counts if count < most)


def _anywhere(layer: AttentionLayer) -> AttentionLayer:
    """The kind of a layer, wherever in the model it stands."""
    return replace(layer, call=replace(layer.call, layer=0))


def _attention_in_words(kind: AttentionLayer, backend: Backend[Any]) -> str:
    shape, kept_in = kind.shape, backend.options.kv_dtype
    return (
        f"attention {backend.attention.name} with {kind.query_heads} heads on {shape.heads} key heads of {shape.key_size}, "
        f"KV in {kept_in}"
    )


class _Sequence:
    """The KV of one sequence, twice in a memory: in neighbouring blocks, and scattered."""

    def __init__(self, kind: AttentionLayer, backend: Backend[Any], random: torch.Generator):
        shape, size = kind.shape, backend.options.block_size
        count = -(-CONTEXT // size)
        self.memory = backend.make_memory([shape], 2 * count)
        self.neighbours = np.arange(count, dtype=np.int32)
        self.scattered = (count + torch.randperm(count, generator=random).numpy()).astype(np.int32)
        keys = torch.randn(shape.heads, CONTEXT, shape.key_size, generator=random)
        values = torch.randn(shape.heads, CONTEXT, shape.value_size, generator=random)
        for table in (self.neighbours, self.scattered):
            self.memory.write(0, slots_of([Span(0, 0, CONTEXT, table)], size), keys, values)


def _chunks_are_independent(
    sequence: _Sequence, kind: AttentionLayer, backend: Backend[Any], random: torch.Generator
) -> bool:
    """The rows of a sequence at once, and in chunks, alone and beside one another."""
    memory, attention = sequence.memory, backend.attention
    query = torch.randn(kind.query_heads, CONTEXT, kind.shape.key_size, generator=random)

    def attend(spans: list[tuple[int, int]], table: np.ndarray) -> list[torch.Tensor]:
        sizes = [end - start for start, end in spans]
        firsts = np.cumsum([0, *sizes]).tolist()
        placed = [Span(row, start, end, table) for row, (start, end) in zip(firsts, spans, strict=False)]
        prepared = attention.prepare(placed, firsts[-1], memory)
        given = torch.cat([query[:, start:end] for start, end in spans], 1)
        return list(torch.split(attention.attend(prepared, memory, kind.call, given), sizes))

    whole = attend([(0, CONTEXT)], sequence.neighbours)[0]
    for table in (sequence.neighbours, sequence.scattered):
        alone = [attend([chunk], table)[0] for chunk in CHUNKS]
        for parts in (alone, attend(list(CHUNKS), table)):
            if not all(torch.equal(part, whole[start:end]) for part, (start, end) in zip(parts, CHUNKS, strict=True)):
                return False
    return True
