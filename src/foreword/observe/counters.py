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
        self._tokens: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()

    def request(self, request: RequestFinished, reason: Reason) -> None:
        """A request has ended."""
        tokens = self._tokens
        tokens["requests"] += 1
        tokens["prompt_tokens"] += len(request.tokens) // TOKEN_BYTES
        tokens["generated"] += len(request.generated) // TOKEN_BYTES
        for source in ("cached", "shared_in_flight", "computed", "recomputed", "unprocessed"):
            tokens[source] += getattr(request, source)
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
            self._tokens["stored_tokens"] += len(event.tokens) // TOKEN_BYTES
        elif isinstance(event, BlockRemoved):
            self._tokens["removed_tokens"] += event.tokens
        elif isinstance(event, AllBlocksCleared):
            self._tokens["resets"] += 1

    def snapshot(self) -> Counts:
        tokens = self._tokens
        names = ("requests", "prompt_tokens", "cached", "shared_in_flight", "computed", "recomputed", "unprocessed")
        more = ("generated", "stored_tokens", "removed_tokens", "resets")
        return Counts(
            **{name: tokens[name] for name in (*names, *more)},
            requests_by_reason={str(reason): count for reason, count in self._reasons.items() if count},
            missed_tokens_by_reason={str(reason): count for reason, count in self._missed.items() if count},
            requests_by_outcome=dict(self._outcomes),
        )
