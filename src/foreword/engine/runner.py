"""Runs a step's plan through the model: one packed batch, no padding but to an even number of rows.

Elementwise kernels treat the last few numbers of a tensor by another code path. With an even number of rows, layer widths
that are multiples of 16 leave no such rest, so a row's bits do not depend on how many rows there are.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foreword.backends.base import AttentionStep, Backend, Span, StepObserver
from foreword.engine.model import LoadedModel
from foreword.sched import Request, ScheduledChunk, StepPlan


@dataclass(frozen=True, slots=True)
class ChunkLogits:
    """Logits [rows, vocabulary] of one chunk: of its last token, or of all its tokens where they were asked for."""

    chunk: ScheduledChunk
    logits: torch.Tensor


class ModelRunner:
    """Holds the model, its KV memory and the attention backend; knows nothing of queues and caches."""

    def __init__(self, model: LoadedModel, memory: Any, backend: Backend[Any]):
        self.model = model
        self.memory = memory
        self.backend = backend
        self.observer: StepObserver | None = None

    @torch.inference_mode()
    def run(self, plan: StepPlan, every_row: Collection[Request] = ()) -> list[ChunkLogits]:
        """Carry out the copies, compute the chunks, and return the logits of those that sample.

        For the requests in ``every_row`` the logits of all the chunk's tokens are returned, also before they sample.
        """
        self.memory.copy(plan.actions)
        spans, ids, positions, keep, kept = [], [], [], [], []
        row = 0
        for chunk in plan.chunks:
            request, count = chunk.request, chunk.end - chunk.start
            assert request.reservation is not None
            table = request.reservation.table
            at = np.arange(chunk.start, chunk.end)
            spans.append(Span(row, chunk.start, chunk.end, table))
            ids.append(request.tokens[chunk.start : chunk.end])
            positions.append(at)
            wanted = count if request in every_row else int(chunk.samples)
            if wanted:
                keep.append(np.arange(row + count - wanted, row + count))
                kept.append((chunk, wanted))
            row += count
        padding = np.zeros(row % 2, np.int64)
        rows = row + len(padding)
        step = AttentionStep.of(self.backend.attention, self.memory, spans, rows, self.observer)
        logits = self._forward(np.concatenate([*ids, padding]), np.concatenate([*positions, padding]), keep, step)
        out, first = [], 0
        for chunk, wanted in kept:
            out.append(ChunkLogits(chunk, logits[first : first + wanted]))
            first += wanted
        return out

    def _forward(
        self, ids: np.ndarray, positions: np.ndarray, keep: list[np.ndarray], step: AttentionStep[Any]
    ) -> torch.Tensor:
        """Logits of the kept rows [kept, vocabulary]; a step that keeps none still computes the head of one row."""
        rows = np.concatenate(keep) if keep else np.zeros(1, np.int64)
        out = self.model.module(
            input_ids=torch.from_numpy(ids.astype(np.int64))[None],
            position_ids=torch.from_numpy(positions)[None],
            use_cache=False,
            logits_to_keep=torch.from_numpy(rows),
            foreword_step=step,
        )
        logits: torch.Tensor = out.logits[0]
        return logits.float()
