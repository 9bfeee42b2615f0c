"""Runs steps through the model: one packed batch, no padding but to an even number of rows.

Elementwise kernels treat the last few numbers of a tensor by another code path. With an even number of rows, layer widths
that are multiples of 16 leave no such rest, so a row's bits do not depend on how many rows there are.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from foreword.backends.base import ATTENTION, MODELLING, AttentionStep, Backend, Span, StepObserver
from foreword.cache import CopyBlock
from foreword.engine.forward import run_model
from foreword.engine.model import LoadedModel
from foreword.engine.runner import Sampled, Step, StepChunk, TokenLogprobs
from foreword.engine.sampler import sample, token_logprobs
from foreword.engine.step_masks import Made, StepMasks
from foreword.engine.token_mask import Row
from foreword.faults import NO_FAULTS

SAMPLING = "sampling"
"""The part of a step that comes after the model, for its observer."""
LogitsSink = Callable[[Step, list[torch.Tensor]], None]
"""Told of a step and the logits [rows, vocabulary] of each of its chunks, before sampling; not to be changed."""


class ModelRunner:
    """A model, its KV memory and the backend that computes them; knows nothing of queues and caches.

    sinks
        Are told of the logits of every step; who verifies or records adds one.
    observer
        Is told of the parts of every step.
    """

    def __init__(self, model: LoadedModel, memory: Any, backend: Backend[Any], observer: StepObserver | None = None):
        self.model = model
        self.memory = memory
        self.backend = backend
        self.sinks: list[LogitsSink] = []
        self._observer = observer
        self._masks = StepMasks(model.vocab_size)
        self._stems = _stems_of(model.module)

    @torch.inference_mode()
    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        """Do what the cache asks of the memory, in order."""
        self.memory.copy(actions)

    @torch.inference_mode()
    def run(self, step: Step) -> list[Sampled]:
        """Compute the chunks and sample after those that ask for it. Masks are made meanwhile."""
        masks = self._masks.begin(step)
        logits, whole = self._compute(step)
        for sink in self.sinks:
            sink(step, logits)
        with self._part(SAMPLING):
            return self._sample(step, logits, whole, masks)

    @torch.inference_mode()
    def logits(self, step: Step) -> list[torch.Tensor]:
        """Compute the chunks; the logits of each [rows, vocabulary]: of all rows where they are reported, else of the last
        known token and the draft."""
        return self._compute(step)[0]

    def _compute(self, step: Step) -> tuple[list[torch.Tensor], list[int]]:
        """The logits, and of each chunk how many rows are numbers before the first that is none, also of those that have no
        logits."""
        spans, ids, positions, keep = [], [], [], []
        wanted: list[int] = []
        row = 0
        for chunk in step.chunks:
            count = chunk.end - chunk.start
            spans.append(Span(row, chunk.start, chunk.end, chunk.blocks))
            ids.append(chunk.ids())
            positions.append(np.arange(chunk.start, chunk.end))
            wanted.append(count if chunk.prompt_logprobs is not None else 1 + len(chunk.draft))
            keep.append(np.arange(row + count - wanted[-1], row + count))
            row += count
        padding = np.zeros(row % 2, np.int64)
        kept, rows = np.concatenate(keep), row + len(padding)
        with self._part(ATTENTION):
            attention = AttentionStep.of(self.backend.attention, self.memory, spans, rows, self._observer)
        with self._part(MODELLING):
            logits, numbers = self._forward(
                np.concatenate([*ids, padding]), np.concatenate([*positions, padding]), kept, attention
            )
        found = numbers.numpy()
        whole = [_leading(found[span.row : span.row + span.end - span.start]) for span in spans]
        return list(torch.split(logits[: len(kept)], wanted)), whole

    def _sample(self, step: Step, logits: list[torch.Tensor], whole: list[int], masks: Future[Made] | None) -> list[Sampled]:
        """What comes after each chunk, from its ``logits`` [rows, vocabulary]; ``whole``: how many of its rows are numbers
        before the first that is none."""
        made: Made = {} if masks is None else masks.result()
        out = []
        for place, (chunk, rows, numbers) in enumerate(zip(step.chunks, logits, whole, strict=True)):
            known = chunk.end - chunk.start - len(chunk.draft)
            sampled = rows[len(rows) - 1 - len(chunk.draft) :][: 1 + numbers - known]
            found = _sampled(sampled, chunk, made.get(place, ())) if numbers >= known else Sampled(broken=True)
            reported = _prompt_logprobs(chunk, rows)
            out.append(replace(found, prompt_logprobs=reported) if reported else found)
        return out

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """What is done inside is a part of the step, for the observer."""
        if self._observer is None:
            yield
            return
        self._observer.begin(name)
        try:
            yield
        finally:
            self._observer.end()

    def _forward(
        self, ids: np.ndarray, positions: np.ndarray, keep: np.ndarray, step: AttentionStep[Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the kept rows [kept, vocabulary]; a step that keeps none still computes the head of one row.

        And of each row whether it consists of numbers. One whose KV do not, in whatever layer, does not either: it has seen
        its own; rows behind it may not have, where layers see a window.
        """
        rows = keep if len(keep) else np.zeros(1, np.int64)
        with _watched(self._stems) as seen:
            given, places = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(positions)
            logits = run_model(self.model.module, given, places, torch.from_numpy(rows), step)
        whole = next(found for found in reversed(seen) if found.shape[1] == len(ids))
        return logits.float(), whole[0].sum(-1).isfinite()


def _leading(numbers: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> int:
    """How many are true before the first that is not."""
    first = int(numbers.argmin())
    return len(numbers) if numbers[first] else first


def _sampled(logits: torch.Tensor, chunk: StepChunk, made: Sequence[Row] | BaseException) -> Sampled:
    """What follows a chunk; ``made``: its masks, if they were made beside the step, or what was raised there."""
    try:
        if isinstance(made, BaseException):
            raise made
        return sample(logits, chunk, made)
    except NO_FAULTS:
        raise
    except BaseException as error:  # native code raises what is no Exception
        return Sampled(fault=error)


def _stems_of(module: Any) -> list[torch.nn.Module]:
    """What gives the rows that the head chooses from: a model calls its base, or goes past it to the decoder inside. One
    that says that it is its own base and decoder (Llama 4) has them as ``model``; what another calls its decoder
    (ModernBERT) is the head."""
    base = module.base_model if module.base_model is not module else module.model
    decoder = module.get_decoder() if hasattr(module, "get_decoder") else base
    return [base] if decoder in (base, module) else [base, decoder]


@contextmanager
def _watched(modules: Sequence[torch.nn.Module]) -> Iterator[list[torch.Tensor]]:
    """What modules give in this thread as long as the block lasts, the outermost last: rows [1, rows, width]."""
    seen: list[torch.Tensor] = []
    thread = threading.get_ident()

    def note(_: torch.nn.Module, __: Any, given: Any) -> None:
        if threading.get_ident() == thread:
            seen.append(given if isinstance(given, torch.Tensor) else given[0])

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _prompt_logprobs(chunk: StepChunk, logits: torch.Tensor) -> tuple[TokenLogprobs, ...]:
    """Of the prompt's tokens that follow those of the chunk."""
    count = chunk.prompt_logprobs
    if count is None:
        return ()
    last = min(chunk.end, chunk.num_prompt_tokens - 1)
    return tuple(
        token_logprobs(logits[at - chunk.start], int(chunk.tokens[at + 1]), count) for at in range(chunk.start, last)
    )
