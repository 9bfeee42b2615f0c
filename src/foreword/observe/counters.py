"""Hits and misses in tokens and requests: by source, by reason, by outcome."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from foreword.cache.tokens import TOKEN_BYTES
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, CacheEvent, RequestFinished
from foreword.observe.explain import Reason


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the observer was made.

    prompt_tokens
        The sum of ``cached``, ``shared_in_flight``, ``computed`` and ``unprocessed``.
    requests_by_reason, missed_tokens_by_reason
        Requests whose hit ended for a reason, and the prompt tokens that were computed for them.
    stored_tokens, removed_tokens, resets
        Tokens that entered the cache and that left it (evicted, or entered anew with more behind); how often it was emptied.
    """

    requests: int
    prompt_tokens: int
    cached: int
    shared_in_flight: int
    computed: int
    recomputed: int
    unprocessed: int
    generated: int
    requests_by_reason: Mapping[str, int]
    missed_tokens_by_reason: Mapping[str, int]
    requests_by_outcome: Mapping[str, int]
    stored_tokens: int
    removed_tokens: int
    resets: int

    @property
    def hit_rate(self) -> float:
        """The share (0 to 1) of the prompt tokens that were not computed."""
        return (self.cached + self.shared_in_flight) / self.prompt_tokens if self.prompt_tokens else 0.0


class Counters:
    """Adds up events."""

    def __init__(self) -> None:
        self._requests = self._prompt_bytes = self._generated_bytes = 0
        self._cached = self._shared_in_flight = self._computed = self._recomputed = self._unprocessed = 0
        self._stored_bytes = self._removed_tokens = self._resets = 0
        self._reasons: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()

    def request(self, request: RequestFinished, reason: Reason) -> None:
        """A request has ended."""
        self._requests += 1
        self._prompt_bytes += len(request.tokens)
        self._generated_bytes += len(request.generated)
        self._cached += request.cached
        self._shared_in_flight += request.shared_in_flight
        self._computed += request.computed
        self._recomputed += request.recomputed
        self._unprocessed += request.unprocessed
        self._outcomes[request.outcome] += 1
        self._reasons[reason] += 1
        self._missed[reason] += request.computed

    def changed(self, request: RequestFinished, before: Reason, now: Reason) -> None:
        """More is known about the reason of a request that was counted."""
        for counter, amount in ((self._reasons, 1), (self._missed, request.computed)):
            counter[before] -= amount
            counter[now] += amount

    def cache(self, event: CacheEvent) -> None:
        """Something entered or left the cache."""
        if isinstance(event, BlockStored):
            self._stored_bytes += len(event.tokens)
        elif isinstance(event, BlockRemoved):
            self._removed_tokens += event.tokens
        elif isinstance(event, AllBlocksCleared):
            self._resets += 1

    def snapshot(self) -> Counts:
        """The totals so far."""
        return Counts(
            requests=self._requests,
            prompt_tokens=self._prompt_bytes // TOKEN_BYTES,
            cached=self._cached,
            shared_in_flight=self._shared_in_flight,
            computed=self._computed,
            recomputed=self._recomputed,
            unprocessed=self._unprocessed,
            generated=self._generated_bytes // TOKEN_BYTES,
            requests_by_reason={str(reason): count for reason, count in self._reasons.items() if count},
            missed_tokens_by_reason={str(reason): count for reason, count in self._missed.items() if count},
            requests_by_outcome=dict(self._outcomes),
            stored_tokens=self._stored_bytes // TOKEN_BYTES,
            removed_tokens=self._removed_tokens,
            resets=self._resets,
        )
