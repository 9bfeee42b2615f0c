"""The start-up self-test: are a token's bits independent of its batch, of its chunk and of its blocks, on this machine?

It runs the model's own linear layers (one of each shape) and the attention backend, with the model's heads and the KV
memory's dtype, on random numbers. Our kernels have the property by construction; a compiler and a machine have to keep it.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from foreword.backends.cpu.attention import AttentionBackend, LayerCall, Span
from foreword.backends.cpu.kv_memory import KV_DTYPES, KVMemory, LayerShape
from foreword.backends.cpu.packed_linear import Int8Linear, PackedLinear
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

Linear = PackedLinear | Int8Linear | torch.nn.Linear


@dataclass(frozen=True)
class SelfTest:
    """Outcome: what differed, if anything, and how long the test took."""

    failures: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing differed."""
        return not self.failures

    @property
    def message(self) -> str:
        """The outcome in a sentence."""
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
    kept_as, block_size = model.fingerprint.dtype, model.fingerprint.block_size
    with torch.inference_mode():
        linear = {(type(m), m.in_features, m.out_features): m for m in model.module.modules() if isinstance(m, Linear)}
        for layer in linear.values():
            if not _rows_are_independent(layer, random):
                failures.append(f"linear layer {layer.in_features} to {layer.out_features}")
        for shape in dict.fromkeys(model.layers):
            sequence = _Sequence(shape, KV_DTYPES[kept_as], block_size, random)
            heads = _query_heads(model, shape)
            if not all(_chunks_are_independent(sequence, heads, call, backend, random) for call in _calls(model, shape)):
                failures.append(
                    f"attention {backend.name} with {heads} heads on {shape.heads} key heads of {shape.key_size}, "
                    f"KV in {kept_as}"
                )
    return SelfTest(tuple(failures), time.perf_counter() - start)


def _rows_are_independent(layer: Linear, random: torch.Generator) -> bool:
    most = min(MOST_ROWS, max(LEAST_ROWS, WORK // (layer.in_features * layer.out_features) // 2 * 2))
    rows = torch.randn(most, layer.in_features, generator=random)
    whole = layer(rows)
    counts = SOME_ROWS if most > LEAST_ROWS else FEW_ROWS
    return all(torch.equal(layer(rows[-count:]), whole[-count:]) for count in counts if count < most)


def _query_heads(model: LoadedModel, shape: LayerShape) -> int:
    """A multiple of the key heads."""
    heads = model.module.config.get_text_config().num_attention_heads
    return shape.heads * max(1, int(heads) // shape.heads)


def _calls(model: LoadedModel, shape: LayerShape) -> list[LayerCall]:
    """What the model's layers ask for: all keys, and those of a sliding window if it has one."""
    config = model.module.config.get_text_config()
    softcap, window = getattr(config, "attn_logit_softcapping", None), getattr(config, "sliding_window", None)
    return [LayerCall(0, shape.key_size**-0.5, each, softcap) for each in dict.fromkeys((None, window))]


class _Sequence:
    """The KV of one sequence, twice in a memory: in neighbouring blocks, and scattered."""

    def __init__(self, shape: LayerShape, dtype: torch.dtype, block_size: int, random: torch.Generator):
        count = -(-CONTEXT // block_size)
        self.memory = KVMemory([shape], 2 * count, block_size, dtype)
        self.neighbours = np.arange(count, dtype=np.int32)
        self.scattered = (count + torch.randperm(count, generator=random).numpy()).astype(np.int32)
        keys = torch.randn(shape.heads, CONTEXT, shape.key_size, generator=random)
        values = torch.randn(shape.heads, CONTEXT, shape.value_size, generator=random)
        at = np.arange(CONTEXT)
        for table in (self.neighbours, self.scattered):
            slots = table[at // block_size].astype(np.int64) * block_size + at % block_size
            self.memory.write(0, torch.from_numpy(slots), keys, values)


def _chunks_are_independent(
    sequence: _Sequence, heads: int, call: LayerCall, backend: AttentionBackend, random: torch.Generator
) -> bool:
    """The rows of a sequence at once, and in chunks, alone and beside one another."""
    memory = sequence.memory
    query = torch.randn(heads, CONTEXT, memory.layers[0].key_size, generator=random)

    def attend(spans: list[tuple[int, int]], table: np.ndarray) -> list[torch.Tensor]:
        sizes = [end - start for start, end in spans]
        firsts = np.cumsum([0, *sizes]).tolist()
        placed = [Span(row, start, end, table) for row, (start, end) in zip(firsts, spans, strict=False)]
        prepared = backend.prepare(placed, firsts[-1], memory)
        out = backend.attend(prepared, memory, call, torch.cat([query[:, start:end] for start, end in spans], 1))
        return list(torch.split(out, sizes))

    whole = attend([(0, CONTEXT)], sequence.neighbours)[0]
    for table in (sequence.neighbours, sequence.scattered):
        alone = [attend([chunk], table)[0] for chunk in CHUNKS]
        for parts in (alone, attend(list(CHUNKS), table)):
            if not all(torch.equal(part, whole[start:end]) for part, (start, end) in zip(parts, CHUNKS, strict=True)):
                return False
    return True
