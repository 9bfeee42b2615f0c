"""--verify-cache: compute a share of the hits again while serving, and count the numbers whose bits differ."""

import logging
import random
from dataclasses import dataclass, replace

import torch

from foreword.cache import PrefixCache
from foreword.engine.runner import ModelRunner
from foreword.sched import Request, ScheduledChunk, StepPlan

logger = logging.getLogger("foreword")

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
"""Whole numbers of the same size, whose equality is that of the bits."""


@dataclass(frozen=True)
class VerifyReport:
    """Running totals. ``skipped``: hits chosen for a check for which there was no room, or whose check raised."""

    checked: int = 0
    skipped: int = 0
    values_compared: int = 0
    values_differing: int = 0
    logits_differing: int = 0


class CacheVerifier:
    """Recomputes prompts in blocks of their own and compares them with what the cache gave."""

    def __init__(self, share: float, cache: PrefixCache, runner: ModelRunner, budget: int):
        self._share = share
        self._cache = cache
        self._runner = runner
        self._budget = budget
        self._random = random.Random(0)
        self._report = VerifyReport()

    def report(self) -> VerifyReport:
        """What was compared so far, and what differed."""
        return self._report

    def maybe_check(self, request: Request, logits: torch.Tensor, now: float) -> None:
        """Check a request whose prompt has just been computed with a hit; ``logits`` [vocabulary] are its last ones."""
        account = request.account()
        hit = account.reused
        if not self._share or not hit or self._random.random() >= self._share:
            return
        size = request.num_tokens
        again = Request("verify", request.packed(), request.namespace, size, now, use_cache=False)
        match = self._cache.match(again.namespace, again.packed(), use_cache=False)
        again.reservation = self._cache.reserve(match, again.ledger, now)
        if again.reservation is None:
            self._report = replace(self._report, skipped=self._report.skipped + 1)
            return
        try:
            fresh = self._compute(again)
            self._compare(request, again, hit, logits, fresh)
        except Exception:
            logger.exception("Checking request %s raised; the request itself goes on.", request.request_id)
            self._report = replace(self._report, skipped=self._report.skipped + 1)
        finally:
            self._cache.release(again.reservation, now)

    def _compute(self, again: Request) -> torch.Tensor:
        assert again.reservation is not None
        logits = torch.empty(0)
        while (chunk := self._cache.plan(again.reservation, again.num_tokens, self._budget)) is not None:
            scheduled = ScheduledChunk(again, chunk.start, chunk.end, chunk.end == again.num_tokens)
            out = self._runner.run(StepPlan((scheduled,)))
            self._cache.commit(again.reservation)
            if out:
                logits = out[0].logits[-1]
        return logits

    def _compare(self, request: Request, again: Request, hit: int, logits: torch.Tensor, fresh: torch.Tensor) -> None:
        """Bits of the KV of the first ``hit`` tokens, and of the last logits."""
        compared = differing = 0
        memory = self._runner.memory
        served, own = self._slots(request, hit), self._slots(again, hit)
        for layer in range(len(memory.layers)):
            for a, b in zip(memory.read(layer, served), memory.read(layer, own), strict=True):
                compared += a.numel()
                differing += int((_bits(a) != _bits(b)).sum())
        self._report = replace(
            self._report,
            checked=self._report.checked + 1,
            values_compared=self._report.values_compared + compared,
            values_differing=self._report.values_differing + differing,
            logits_differing=self._report.logits_differing
            + int((logits.view(torch.int32) != fresh.view(torch.int32)).sum()),
        )

    def _slots(self, request: Request, count: int) -> torch.Tensor:
        assert request.reservation is not None
        at = torch.arange(count)
        size: int = self._runner.memory.block_size
        return torch.tensor(request.reservation.table, dtype=torch.int64)[at // size] * size + at % size


def _bits(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.contiguous().view(BITS[numbers.dtype])
