"""Batches for attention: sequences that share prefixes, their KV in memory, and what comes out if one does it plainly."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foreword.backends.base import Attention, KVMemory, LayerCall, LayerShape, Span, slots_of
from foreword.backends.registry import make_backend


@dataclass
class Batch:
    """Sequences with KV in memory, and the rows of one step."""

    attention: Attention[Any]
    memory: KVMemory
    spans: list[Span]
    rows: int
    keys: list[torch.Tensor]
    """Of every sequence, [heads, length, size], as memory keeps them."""
    values: list[torch.Tensor]
    query: torch.Tensor


@dataclass
class _Planned:
    blocks: list[int]
    keys: torch.Tensor
    values: torch.Tensor
    start: int


class BatchMaker:
    """Sequence by sequence; every slot that none has filled holds NaN, so that a backend that reads one shows it.

    ``scattered``: the blocks lie in random order in memory, with a quarter of them nobody's; else those of a sequence are
    neighbours.
    """

    def __init__(self, shape: LayerShape, group: int, size: int = 16, scattered: bool = False, seed: int = 0):
        self._shape, self._group, self._size, self._scattered = shape, group, size, scattered
        self._random, self._rng = torch.Generator().manual_seed(seed), random.Random(seed)
        self._sequences: list[_Planned] = []
        self._count = 0

    def add(self, length: int, start: int, like: int | None = None, shared: int = 0) -> int:
        """A sequence whose rows are its tokens [start, length); its first ``shared`` tokens, whole blocks, are those of the
        sequence ``like``. Returns its number."""
        assert shared % self._size == 0
        keys, values = self._some(length - shared, self._shape.key_size), self._some(length - shared, self._shape.value_size)
        blocks: list[int] = []
        if like is not None:
            other = self._sequences[like]
            blocks = other.blocks[: shared // self._size]
            keys = torch.cat([other.keys[:, :shared], keys], 1)
            values = torch.cat([other.values[:, :shared], values], 1)
        own = -(-(length - shared) // self._size)
        blocks = blocks + list(range(self._count, self._count + own))
        self._count += own
        self._sequences.append(_Planned(blocks, keys, values, start))
        return len(self._sequences) - 1

    def make(self, backend: str = "cpu", kv_dtype: str = "float32") -> Batch:
        """The batch of all sequences, in order, with a row of padding where the number of rows is odd."""
        made = make_backend(backend, self._size, kv_dtype)
        total = self._count + self._count // 4 + 1
        places = list(range(total))
        if self._scattered:
            self._rng.shuffle(places)
        memory: KVMemory = made.make_memory([self._shape], total)
        nothing = torch.full((self._shape.heads, total * self._size, 1), torch.nan)
        sizes = self._shape.key_size, self._shape.value_size
        memory.write(0, torch.arange(total * self._size), *(nothing.expand(-1, -1, size) for size in sizes))
        spans, keys, values, row = [], [], [], 0
        for planned in self._sequences:
            table = np.array([places[block] for block in planned.blocks], np.int32)
            length = planned.keys.shape[1]
            memory.write(0, slots_of([Span(0, 0, length, table)], self._size), planned.keys, planned.values)
            spans.append(Span(row, planned.start, length, table))
            keys.append(kept(planned.keys, kv_dtype).float())
            values.append(kept(planned.values, kv_dtype).float())
            row += length - planned.start
        rows = row + row % 2
        query = torch.randn(self._shape.heads * self._group, rows, self._shape.key_size, generator=self._random)
        return Batch(made.attention, memory, spans, rows, keys, values, query)

    def _some(self, length: int, size: int) -> torch.Tensor:
        return torch.randn(self._shape.heads, length, size, generator=self._random)


def kept(numbers: torch.Tensor, kv_dtype: str) -> torch.Tensor:
    """What numbers [..., size] are when they are read from a memory again. In int8 the largest of each size is 127."""
    if kv_dtype != "int8":
        return numbers.to(getattr(torch, kv_dtype))
    step = numbers.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return (numbers / step).round() * step


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


def attend(batch: Batch, call: LayerCall) -> torch.Tensor:
    """What the backend's attention gives: [rows, heads, value_size]."""
    prepared = batch.attention.prepare(batch.spans, batch.rows, batch.memory)
    return batch.attention.attend(prepared, batch.memory, call, batch.query)


def piece(batch: Batch, number: int, start: int, end: int) -> Batch:
    """Some rows of one sequence, as a step of their own: its tokens [start, end)."""
    span = batch.spans[number]
    row = span.row + start - span.start
    query = batch.query[:, row : row + end - start]
    table = span.table[: -(-end // batch.memory.block_size)]
    return Batch(batch.attention, batch.memory, [Span(0, start, end, table)], end - start, [], [], query)
