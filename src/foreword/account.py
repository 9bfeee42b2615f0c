"""The account of one request: where each prompt token came from, and why the hit ended where it did. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from foreword.errors import IntegrityError


class Source(StrEnum):
    """Where the KV of a prompt token came from."""

    CACHED = "cached"
    SHARED_IN_FLIGHT = "shared_in_flight"
    STORED_LOCAL = "stored_local"
    STORED_SHARED = "stored_shared"
    COMPUTED = "computed"


class MissReason(StrEnum):
    """Why a hit ended where it ended; see HitEnd."""

    FIRST_SEEN = "first_seen"
    DIVERGED = "diverged"
    EVICTED = "evicted"
    DISABLED = "disabled"
    COMPLETE = "complete"
    STORED_CORRUPT = "stored_corrupt"
    STORED_OTHER_IDENTITY = "stored_other_identity"
    LOAD_FAILED = "load_failed"
    LOAD_SLOWER = "load_slower"


@dataclass(frozen=True, slots=True)
class HitEnd:
    """The one structured reason of a request, within its own namespace: whoever asked may be told all of it.

    reason
        ``complete``: all tokens but the last, which is always computed, were there or in flight; of what a lower tier has
        the last token's block is computed.
        ``diverged``: after ``position`` shared tokens a cached prefix goes on with ``nearest`` and the prompt does not.
        ``evicted``: ``lost_tokens`` more tokens were cached once and had to make room, at ``evicted_at`` (caller's clock).
        ``first_seen``: no cached prefix goes on from ``position`` at all, or none shares even the first token.
        ``disabled``: the cache was off for this request.
        ``stored_corrupt``, ``stored_other_identity``, ``load_failed``: from ``position`` on a lower tier had the tokens, and
        what it gave was not what had been stored, was another model's or other tokens', or did not come.
        ``load_slower``: a lower tier has more, and computing it takes less time than loading it.
    position
        Where the hit ended: leading tokens of the prompt that were cached or in flight.
    nearest
        Up to 16 packed tokens with which the nearest cached prefix goes on at ``position``.
    """

    reason: MissReason
    position: int
    nearest: bytes = b""
    lost_tokens: int = 0
    evicted_at: float | None = None


PREDICTION = "prediction"
"""The drafter that reads what a client predicts."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """Tokens of an answer that one drafter proposed and that were computed, and how many of them were right."""

    drafted: int = 0
    accepted: int = 0

    def plus(self, other: "Drafted") -> "Drafted":
        """Both together."""
        return Drafted(self.drafted + other.drafted, self.accepted + other.accepted)


@dataclass(frozen=True, slots=True)
class Account:
    """A request's prompt in tokens: its sources and what is still unprocessed add up to ``prompt_tokens``.

    by_source
        Prompt tokens by where their KV came from, each token once; a source that is missing brought none. IntegrityError
        when they are more than the prompt.
    recomputed
        Tokens that were computed a second time, after the request had to make room; never counted as hits.
    hit_end
        Why and where the hit ended; None while the cache has not been asked.
    drafts
        By drafter: what was drafted of the answer, all continuations together.
    """

    prompt_tokens: int
    by_source: Mapping[Source, int] = field(default_factory=dict)
    recomputed: int = 0
    hit_end: HitEnd | None = None
    drafts: Mapping[str, Drafted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.by_source.values(), default=0) < 0 or self.unprocessed < 0:
            counts = " + ".join(f"{count} {source}" for source, count in self.by_source.items())
            raise IntegrityError(f"Account: {counts} tokens are not the prompt's {self.prompt_tokens}.")

    @property
    def cached(self) -> int:
        """Prompt tokens whose KV lay in the cache when the request was admitted."""
        return self.by_source.get(Source.CACHED, 0)

    @property
    def shared_in_flight(self) -> int:
        """Prompt tokens that another request was computing at the same time."""
        return self.by_source.get(Source.SHARED_IN_FLIGHT, 0)

    @property
    def stored(self) -> int:
        """Prompt tokens that came from a lower tier: the disk's, or one that others share."""
        return self.by_source.get(Source.STORED_LOCAL, 0) + self.by_source.get(Source.STORED_SHARED, 0)

    @property
    def computed(self) -> int:
        """Prompt tokens that were computed for this request."""
        return self.by_source.get(Source.COMPUTED, 0)

    @property
    def processed(self) -> int:
        """Prompt tokens that have a source."""
        return sum(self.by_source.values())

    @property
    def reused(self) -> int:
        """Prompt tokens that were not computed for this request, whatever brought them."""
        return self.processed - self.computed

    @property
    def unprocessed(self) -> int:
        """Prompt tokens that have no source yet."""
        return self.prompt_tokens - self.processed

    @property
    def drafted(self) -> int:
        """Tokens of the answer that were computed before anybody knew that they come."""
        return sum(each.drafted for each in self.drafts.values())

    @property
    def accepted(self) -> int:
        """Those of them that came."""
        return sum(each.accepted for each in self.drafts.values())

    @property
    def miss_reason(self) -> MissReason | None:
        """Why the hit ended, within the request's own namespace; None while the cache has not been asked."""
        return None if self.hit_end is None else self.hit_end.reason

    @property
    def position(self) -> int:
        """Where the hit ended; 0 while the cache has not been asked."""
        return 0 if self.hit_end is None else self.hit_end.position

    def in_tokens(self) -> dict[str, int]:
        """All counts by name, as logs and /v1/cache tell them: the prompt, every source, what is unprocessed, recomputed;
        of the answer what was drafted, and accepted of that."""
        sources = {source.value: self.by_source.get(source, 0) for source in Source}
        rest = {"unprocessed": self.unprocessed, "recomputed": self.recomputed}
        return {"prompt_tokens": self.prompt_tokens, **sources, **rest, "drafted": self.drafted, "accepted": self.accepted}
