"""The start-up self-test: are a token's bits independent of its batch and of its chunk, on this machine?

It runs the model's own linear layers (one of each shape) and the attention backend on random numbers. Bit identity is a
property of kernels and thread counts, so a new machine or library has to show it again.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from foreword.engine.attention import AttentionBackend, LayerCall, Span
from foreword.engine.linear import Int8Linear, PackedLinear
from foreword.engine.memory import KVMemory, LayerShape
from foreword.engine.model import LoadedModel

LINEAR_ROWS = 34
SOME_ROWS = (1, 2, 3, 5, 8, 17, 33)
LARGE_LAYER = 16_000_000
"""Weights from which on only few rows are tried, to stay within milliseconds."""
CONTEXT = 300
CHUNKS = ((0, 1), (40, 59), (250, 262), (256, 300), (299, 300))


@dataclass(frozen=True)
class SelfTest:
    """Outcome: what differed, if anything, and how long the test took."""

    failures: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def message(self) -> str:
        if self.passed:
            return "Self-test passed: results do not depend on batch or chunks, to the bit."
        return (
            "Self-test: on this machine some results depend on batch or chunks in their last bits, so a hit may change an "
            f"answer within rounding ({'; '.join(self.failures)}). Another number of threads may help."
        )


def run_self_test(model: LoadedModel, backend: AttentionBackend) -> SelfTest:
    """Check every shape of linear layer, and the attention of every shape of layer."""
    start = time.perf_counter()
    failures = []
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        linear = {
            (type(m), m.in_features, m.out_features): m
            for m in model.module.modules()
            if isinstance(m, PackedLinear | Int8Linear | torch.nn.Linear)
        }
        for layer in linear.values():
            if not _rows_are_independent(layer, random):
                failures.append(f"linear layer {layer.in_features} to {layer.out_features}")
        for shape in dict.fromkeys(model.layers):
            if not _chunks_are_independent(shape, backend, random):
                failures.append(f"attention {backend.name} with {shape.heads} key heads of {shape.key_size}")
    return SelfTest(tuple(failures), time.perf_counter() - start)


def _rows_are_independent(layer: PackedLinear | Int8Linear | torch.nn.Linear, random: torch.Generator) -> bool:
    large = layer.in_features * layer.out_features > LARGE_LAYER
    rows = torch.randn(8 if large else LINEAR_ROWS, layer.in_features, generator=random)
    whole = layer(rows)
    return all(torch.equal(layer(rows[-count:]), whole[-count:]) for count in SOME_ROWS if count < len(rows))


def _chunks_are_independent(shape: LayerShape, backend: AttentionBackend, random: torch.Generator) -> bool:
    """The rows of a sequence at once, and in chunks beside one another, from scattered blocks."""
    size, group = 16, 2
    count = -(-CONTEXT // size)
    memory = KVMemory([shape], count, size, torch.float32)
    table = torch.randperm(count, generator=random).numpy().astype(np.int32)
    at = np.arange(CONTEXT)
    slots = torch.from_numpy(table[at // size].astype(np.int64) * size + at % size)
    memory.write(
        0,
        slots,
        torch.randn(shape.heads, CONTEXT, shape.key_size, generator=random),
        torch.randn(shape.heads, CONTEXT, shape.value_size, generator=random),
    )
    query = torch.randn(shape.heads * group, CONTEXT, shape.key_size, generator=random)
    call = LayerCall(layer=0, scaling=shape.key_size**-0.5)

    def attend(spans: list[tuple[int, int]]) -> list[torch.Tensor]:
        rows = sum(end - start for start, end in spans)
        firsts = np.cumsum([0, *(end - start for start, end in spans)]).tolist()
        prepared = backend.prepare(
            [Span(row, start, end, table) for row, (start, end) in zip(firsts, spans, strict=False)], rows, memory
        )
        out = backend.attend(prepared, memory, call, torch.cat([query[:, start:end] for start, end in spans], 1))
        return list(torch.split(out, [end - start for start, end in spans]))

    whole = attend([(0, CONTEXT)])[0]
    alone = all(torch.equal(attend([(start, end)])[0], whole[start:end]) for start, end in CHUNKS)
    together = all(
        torch.equal(part, whole[start:end]) for (start, end), part in zip(CHUNKS, attend(list(CHUNKS)), strict=True)
    )
    return alone and together
