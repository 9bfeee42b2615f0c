"""Hits and misses in tokens and requests: by source, by reason, by outcome."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from foreword.account import Account, Drafted, Source
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, CacheEvent, RequestFinished
from foreword.observe.explain import Reason
from foreword.tokens import TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the observer was made.

    account
        The sum of the requests' accounts; it has no hit end.
    requests_by_reason, missed_tokens_by_reason
        Requests whose hit ended for a reason, and the prompt tokens that were computed for them.
    stored_tokens, removed_tokens, resets
        Tokens that entered the cache and that left it (evicted, or entered anew with more behind); how often it was emptied.
    """

    requests: int
    account: Account
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
        return self.account.reused / self.account.prompt_tokens if self.account.prompt_tokens else 0.0


class Counters:
    """Adds up events."""

    def __init__(self) -> None:
        self._requests = self._prompt_tokens = self._recomputed = self._generated_bytes = 0
        self._by_source: Counter[Source] = Counter()
        self._drafts: dict[str, Drafted] = {}
        self._stored_bytes = self._removed_tokens = self._resets = 0
        self._reasons: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()

    def request(self, request: RequestFinished, reason: Reason) -> None:
        """A request has ended."""
        self._requests += 1
        self._prompt_tokens += request.account.prompt_tokens
        self._by_source.update(request.account.by_source)
        self._recomputed += request.account.recomputed
        for name, each in request.account.drafts.items():
            self._drafts[name] = self._drafts.get(name, Drafted()).plus(each)
        self._generated_bytes += len(request.generated)
        self._outcomes[request.outcome] += 1
        self._reasons[reason] += 1
        self._missed[reason] += request.account.computed

    def changed(self, request: RequestFinished, before: Reason, now: Reason) -> None:
        """More is known about the reason of a request that was counted."""
        for counter, amount in ((self._reasons, 1), (self._missed, request.account.computed)):
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
            account=Account(self._prompt_tokens, dict(self._by_source), self._recomputed, drafts=dict(self._drafts)),
            generated=self._generated_bytes // TOKEN_BYTES,
            requests_by_reason={str(reason): count for reason, count in self._reasons.items() if count},
            missed_tokens_by_reason={str(reason): count for reason, count in self._missed.items() if count},
            requests_by_outcome=dict(self._outcomes),
            stored_tokens=self._stored_bytes // TOKEN_BYTES,
            removed_tokens=self._removed_tokens,
            resets=self._resets,
        )
