"""One conformance suite for all attention backends, against one softmax in float64; then bit identity."""

import itertools
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from foreword.engine.attention import BACKENDS, AttentionBackend, LayerCall, Span
from foreword.engine.memory import KVMemory, LayerShape


@dataclass
class Batch:
    """Sequences with KV in memory, and the rows of one step."""

    memory: KVMemory
    spans: list[Span]
    rows: int
    keys: list[torch.Tensor]
    """Of every sequence, [heads, length, size]."""
    values: list[torch.Tensor]
    query: torch.Tensor


def tables(rng: random.Random, lengths: list[int], size: int, scattered: bool) -> tuple[list[np.ndarray], int]:
    """Block tables, and how many blocks there are in all; a quarter of them belongs to nobody."""
    counts = [-(-length // size) for length in lengths]
    total = sum(counts) + sum(counts) // 4 + 1
    order = list(range(total))
    if scattered:
        rng.shuffle(order)
    ends = np.cumsum(counts).tolist()
    return [np.array(order[end - count : end], np.int32) for count, end in zip(counts, ends, strict=True)], total


def make_batch(seed: int, shape: LayerShape, group: int, size: int, scattered: bool) -> Batch:
    """Random spans of random sequences, packed in random order, with padding rows behind them.

    Every slot that no sequence has filled holds NaN: a backend that reads one shows it.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    lengths = [rng.choice([1, 15, 17, 256, 257, rng.randrange(1, 600)]) for _ in range(rng.randrange(1, 6))]
    own, total = tables(random.Random(seed), lengths, size, scattered)
    memory = KVMemory([shape], total, size, torch.float32)
    for tensor in (memory.keys[0], memory.values[0]):
        tensor[:, : memory.zero_slot] = float("nan")
    keys = [torch.randn(shape.heads, length, shape.key_size) for length in lengths]
    values = [torch.randn(shape.heads, length, shape.value_size) for length in lengths]
    spans, row = [], 0
    for table, length, k, v in zip(own, lengths, keys, values, strict=True):
        at = np.arange(length)
        memory.write(0, torch.from_numpy(table[at // size].astype(np.int64) * size + at % size), k, v)
        start = rng.choice([0, length - 1, rng.randrange(length)])
        spans.append(Span(row, start, length, table))
        row += length - start
    rows = row + row % 2
    return Batch(memory, spans, rows, keys, values, torch.randn(shape.heads * group, rows, shape.key_size))


def plainly(batch: Batch, call: LayerCall, group: int) -> torch.Tensor:
    """The sequences' own tensors, never the memory; in float64."""
    heads, rows, _ = batch.query.shape
    out = torch.zeros(rows, heads, batch.values[0].shape[-1], dtype=torch.float64)
    for span, keys, values in zip(batch.spans, batch.keys, batch.values, strict=True):
        own = slice(span.row, span.row + span.end - span.start)
        distance = torch.arange(span.start, span.end)[:, None] - torch.arange(span.end)
        seen = (distance >= 0) & (distance < (call.window or span.end))
        scores = batch.query[:, own].double() @ keys.double().repeat_interleave(group, 0).mT * call.scaling
        if call.softcap is not None:
            scores = call.softcap * torch.tanh(scores / call.softcap)
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        out[own] = (weights @ values.double().repeat_interleave(group, 0)).transpose(0, 1)
    return out


def attend(backend: AttentionBackend, batch: Batch, call: LayerCall) -> torch.Tensor:
    return backend.attend(backend.prepare(batch.spans, batch.rows, batch.memory), batch.memory, call, batch.query)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("size", [1, 4, 16, 256])
@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_conformance(name: str, group: int, size: int, scattered: bool) -> None:
    for number, (window, softcap, value_size) in enumerate(
        [(None, None, 16), (40, None, 16), (None, 5.0, 8), (300, 5.0, 24)]
    ):
        shape = LayerShape(heads=2, key_size=16, value_size=value_size)
        batch = make_batch(1000 * number + 100 * group + size, shape, group, size, scattered)
        call = LayerCall(0, 0.3, window, softcap)
        out = attend(BACKENDS[name](), batch, call)
        torch.testing.assert_close(out.double(), plainly(batch, call, group), rtol=0, atol=2e-6)
        rows = sum(span.end - span.start for span in batch.spans)
        assert not out[rows:].any(), "padding rows are zero"


@pytest.mark.parametrize("name", [name for name, kind in BACKENDS.items() if kind.bit_identical])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_bits_do_not_depend_on_chunk_neighbours_or_place(name: str, threads: int, seed: int) -> None:
    """A row alone, with its chunk, and in the packed batch; blocks in a run and scattered."""
    torch.set_num_threads(threads)
    group = [1, 2, 4, 8, 2, 4][seed]
    call = LayerCall(0, 0.3, *[(None, None), (40, None), (None, 5.0), (300, 5.0), (None, None), (256, None)][seed])
    shape = LayerShape(heads=2, key_size=16, value_size=16)
    run, scattered = (make_batch(seed, shape, group, 16, scattered=kind) for kind in (False, True))
    backend = BACKENDS[name]()
    together = attend(backend, run, call)
    assert torch.equal(attend(backend, scattered, call), together)
    rng = random.Random(seed)
    for span in run.spans:
        rows = together[span.row : span.row + span.end - span.start]
        cuts = sorted({span.start, span.end, *(rng.randrange(span.start, span.end) for _ in range(3))})
        for start, end in itertools.pairwise(cuts):
            row = span.row + start - span.start
            query = run.query[:, row : row + end - start]
            alone = Batch(run.memory, [Span(0, start, end, span.table)], end - start, [], [], query)
            assert torch.equal(attend(backend, alone, call), rows[start - span.start : end - span.start])


@pytest.mark.parametrize("readers", [2, 7, 40])
def test_sequences_that_share_blocks_read_them_together(readers: int) -> None:
    """Shared tiles give the bits of each sequence alone, and are read in one product."""
    torch.manual_seed(0)
    group, size, shared, own = 2, 16, 512, 16
    shape = LayerShape(heads=2, key_size=16, value_size=16)
    memory = KVMemory([shape], shared // size + readers, size, torch.float32)
    memory.keys[0][:, : memory.zero_slot].normal_()
    memory.values[0][:, : memory.zero_slot].normal_()
    prefix = np.arange(shared // size, dtype=np.int32)
    end = shared + own
    spans = [Span(row, end - 1, end, np.append(prefix, np.int32(shared // size + row))) for row in range(readers)]
    query, call = torch.randn(shape.heads * group, readers, 16), LayerCall(0, 0.3)
    backend = BACKENDS["tiled"]()
    prepared = backend.prepare(spans, readers, memory)
    assert [len(tile) for tile in prepared.tiles] == [1, 1, readers]
    together = backend.attend(prepared, memory, call, query)
    for span in spans:
        alone = backend.prepare([Span(0, span.start, span.end, span.table)], 1, memory)
        row = backend.attend(alone, memory, call, query[:, span.row : span.row + 1])
        assert torch.equal(row, together[span.row : span.row + 1])
