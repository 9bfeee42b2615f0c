"""--verify-cache: compute a share of the hits again while serving, and count the numbers whose bits differ."""

import logging
import random
from dataclasses import replace

import numpy as np
import torch

from foreword.cache import PrefixCache
from foreword.engine.model_runner import ModelRunner
from foreword.engine.runner import Sampling, Step, StepChunk
from foreword.engine.verify import VerifyReport
from foreword.faults import fault_lines
from foreword.sampling_params import SamplingParams
from foreword.sched import Request
from foreword.tokens import pack_tokens

logger = logging.getLogger("foreword")

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
"""Whole numbers of the same size, whose equality is that of the bits."""


class CacheVerifier:
    """Recomputes prompts in blocks of their own and compares them with what the cache gave.

    share
        Of the hits, 0 to 1, that are checked.
    budget
        Most tokens a step.
    """

    def __init__(self, share: float, cache: PrefixCache, runner: ModelRunner, budget: int):
        self._share = share
        self._cache = cache
        self._runner = runner
        self._budget = budget
        self._random = random.Random(0)
        self._report = VerifyReport()
        self._logits: list[torch.Tensor] = []  # of the last step, by chunk
        runner.sinks.append(self._keep)

    def report(self) -> VerifyReport:
        """What was found so far."""
        return self._report

    def check(self, request: Request, place: int, now: float) -> None:
        """Check a request whose prompt has just been computed with a hit, if its turn comes."""
        hit = request.account().reused
        if not hit or self._random.random() >= self._share:
            return
        tokens = pack_tokens(request.tokens[: request.num_tokens])
        again = Request("verify", tokens, request.namespace, request.num_tokens, now, use_cache=False)
        match = self._cache.match(again.namespace, tokens, use_cache=False)
        again.reservation = self._cache.reserve(match, again.ledger, now)
        if again.reservation is None:
            self._report = replace(self._report, skipped=self._report.skipped + 1)
            return
        try:
            self._compare(request, again, hit, self._logits[place][-1], self._compute(again))
        except Exception as error:
            logger.error(
                "Checking request %s raised; the request itself goes on.\n%s", request.request_id, fault_lines(error)
            )
            self._report = replace(self._report, skipped=self._report.skipped + 1)
        finally:
            self._cache.release(again.reservation, now)

    def _keep(self, step: Step, logits: list[torch.Tensor]) -> None:
        del step
        self._logits = logits

    def _compute(self, again: Request) -> torch.Tensor:
        """The last logits of a prompt [vocabulary]."""
        assert again.reservation is not None
        last = Sampling(SamplingParams(), seed=0)
        logits = torch.empty(0)
        while (chunk := self._cache.plan(again.reservation, again.num_tokens, self._budget)) is not None:
            ends, length = chunk.end == again.num_tokens, again.num_tokens
            table, tokens = again.reservation.table, again.tokens[:length]
            own = StepChunk("verify", chunk.start, chunk.end, tokens, table, length, last if ends else None)
            (out,) = self._runner.logits(Step((own,)))
            self._cache.commit(again.reservation)
            if ends:
                logits = out[-1]
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
        at, size = np.arange(count), self._runner.memory.block_size
        return torch.from_numpy(request.reservation.table[at // size].astype(np.int64) * size + at % size)


def _bits(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.contiguous().view(BITS[numbers.dtype])
