"""Results of a replay: counts in tokens by source, evictions, and predicted times to the first token."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foreword.account import Account, Source

BINS_A_DOUBLING = 128  # a quantile is right within half a per cent
SHORTEST, LONGEST = 1e-6, 1e9  # seconds


class Distribution:
    """How times are distributed, in constant memory: bins of equal ratio, half a per cent wide."""

    def __init__(self) -> None:
        self._bins: npt.NDArray[np.int64] = np.zeros(
            math.ceil(math.log2(LONGEST / SHORTEST) * BINS_A_DOUBLING) + 1, np.int64
        )
        self.count = 0

    def add(self, seconds: float) -> None:
        """Take in a time."""
        place = math.log2(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) * BINS_A_DOUBLING
        self._bins[int(place)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """The seconds below which a share of the times lies; None when there are none."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        place = int(np.searchsorted(self._bins.cumsum(), rank))
        return float(SHORTEST * 2 ** ((place + 0.5) / BINS_A_DOUBLING))


@dataclass(frozen=True, slots=True)
class TTFT:
    """Predicted seconds from a request's arrival to its first token: half, nine in ten, 99 in a hundred were not slower."""

    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a trace came to.

    prompt_tokens
        Of all requests that were not refused. The counts in ``by_source`` add up to it.
    refused
        Requests that the cache could never hold, or without a prompt.
    recomputed
        Tokens that were computed a second time, after a request had to make room.
    evicted_tokens
        Cached tokens that made room for others.
    seconds, busy_seconds
        From the first arrival to the last answer, and those of it in which a step ran.
    """

    requests: int
    refused: int
    prompt_tokens: int
    output_tokens: int
    by_source: Mapping[Source, int]
    recomputed: int
    evicted_tokens: int
    preemptions: int
    seconds: float
    busy_seconds: float
    ttft: TTFT

    def share(self, source: Source) -> float:
        """The share of the prompt tokens that came from a source."""
        return self.by_source.get(source, 0) / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def hit_rate(self) -> float:
        """The share of the prompt tokens that were not computed for their request, whatever brought them."""
        return 1 - self.share(Source.COMPUTED) if self.prompt_tokens else 0.0

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "requests": self.requests,
            "refused": self.refused,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "by_source": {source.value: self.by_source.get(source, 0) for source in Source},
            "hit_rate": self.hit_rate,
            "recomputed": self.recomputed,
            "evicted_tokens": self.evicted_tokens,
            "preemptions": self.preemptions,
            "seconds": self.seconds,
            "busy_seconds": self.busy_seconds,
            "ttft": {"p50": self.ttft.p50, "p90": self.ttft.p90, "p99": self.ttft.p99},
        }


class Tally:
    """Adds requests up, in constant memory."""

    def __init__(self) -> None:
        self.refused = 0
        self._requests = self._prompt_tokens = self._output_tokens = self._recomputed = 0
        self._by_source: Counter[Source] = Counter()
        self._ttft = Distribution()

    def add(self, account: Account, output_tokens: int, ttft: float) -> None:
        """A request that was answered."""
        self._requests += 1
        self._prompt_tokens += account.prompt_tokens
        self._output_tokens += output_tokens
        self._recomputed += account.recomputed
        self._by_source.update(account.by_source)
        self._ttft.add(ttft)

    def result(self, evicted_tokens: int, preemptions: int, seconds: float, busy_seconds: float) -> ReplayResult:
        """All of it."""
        quantiles = TTFT(*(self._ttft.quantile(share) for share in (0.5, 0.9, 0.99)))
        return ReplayResult(
            self._requests, self.refused, self._prompt_tokens, self._output_tokens, dict(self._by_source), self._recomputed,
            evicted_tokens, preemptions, seconds, busy_seconds, quantiles,
        )  # fmt: skip
