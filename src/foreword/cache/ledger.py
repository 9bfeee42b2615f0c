"""Where each prompt token came from, and why the hit ended where it did.

A ledger belongs to a request, not to a look-up: a preempted request keeps its ledger when it is admitted again, so a
prompt token is counted once, whatever happens to the request. What is computed a second time is counted apart.
"""

from dataclasses import dataclass
from enum import StrEnum

from foreword.errors import IntegrityError


class Source(StrEnum):
    """Where the KV of a prompt token came from."""

    CACHED = "cached"
    SHARED = "shared_in_flight"
    COMPUTED = "computed"


class MissReason(StrEnum):
    """Why a hit ended where it ended; see HitEnd."""

    FIRST_SEEN = "first_seen"
    DIVERGED = "diverged"
    EVICTED = "evicted"
    NAMESPACE_DIFFERS = "namespace_differs"
    DISABLED = "disabled"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class HitEnd:
    """The one structured reason of a request.

    reason
        ``complete``: all tokens but the last, which is always computed, were there or in flight.
        ``diverged``: after ``position`` shared tokens a cached prefix goes on with ``nearest`` and the prompt does not.
        ``evicted``: ``lost_tokens`` more tokens were cached once and had to make room, at ``evicted_at`` (caller's clock).
        ``namespace_differs``: another namespace holds a prefix ``lost_tokens`` longer; ``differs_in`` names the part.
        ``first_seen``: no cached prefix goes on from ``position`` at all, or none shares even the first token.
        ``disabled``: the cache was off for this request.
    position
        Where the hit ended: leading tokens of the prompt that were cached or in flight.
    nearest
        Up to 16 packed tokens with which the nearest cached prefix goes on at ``position``.
    """

    reason: MissReason
    position: int
    nearest: bytes = b""
    lost_tokens: int = 0
    differs_in: str = ""
    evicted_at: float | None = None


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A request's account in tokens: prompt = cached + shared_in_flight + computed + unprocessed."""

    prompt_tokens: int
    cached: int
    shared_in_flight: int
    computed: int
    recomputed: int
    unprocessed: int
    hit_end: HitEnd | None


class RequestLedger:
    """Accumulates the account of one request while it runs."""

    def __init__(self, prompt_tokens: int):
        self.prompt_tokens = prompt_tokens
        self.recomputed = 0
        self.hit_end: HitEnd | None = None
        self._high = 0  # tokens [0, _high) have a source
        self._cached = self._shared = self._computed = 0

    def account(self, source: Source, start: int, end: int) -> None:
        """Tokens [start, end) of the request have their KV from ``source``; IntegrityError if that leaves a gap."""
        high = self._high
        if start > high:
            raise IntegrityError(f"Ledger: tokens {high} to {start} have no source.")
        if source is Source.COMPUTED and start < high:
            self.recomputed += max(0, min(end, high) - start)
        if end <= high:
            return
        self._high = end
        new = (end if end < self.prompt_tokens else self.prompt_tokens) - high
        if new <= 0:
            return
        if source is Source.CACHED:
            self._cached += new
        elif source is Source.SHARED:
            self._shared += new
        else:
            self._computed += new

    def record(self) -> LedgerRecord:
        """The account so far; raises IntegrityError when its sum is not the prompt's length."""
        cached, shared, computed = self._cached, self._shared, self._computed
        unprocessed = self.prompt_tokens - min(self._high, self.prompt_tokens)
        if cached + shared + computed + unprocessed != self.prompt_tokens:
            raise IntegrityError(
                f"Ledger: {cached} cached + {shared} shared + {computed} computed + {unprocessed} unprocessed tokens "
                f"are not the prompt's {self.prompt_tokens}."
            )
        return LedgerRecord(
            prompt_tokens=self.prompt_tokens,
            cached=cached,
            shared_in_flight=shared,
            computed=computed,
            recomputed=self.recomputed,
            unprocessed=unprocessed,
            hit_end=self.hit_end,
        )
