"""What a router is told and what it answers: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from foreword.cache.kv_events import MEMORY, ClearedBlocks, KVEvent, RemovedBlocks, StoredBlocks
from foreword.cache.namespace import ModelFingerprint

BlockHashes = npt.NDArray[np.uint64]
"""Hashes of the whole blocks of a prompt, first to last (``foreword.cache.block_hashes``); none of them is 0."""


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """What a replica says of itself when it joins.

    identity
        What its blocks depend on; replicas of one fleet are equal in it.
    prefill_rate
        Prompt tokens that it was measured to compute in a second.
    load_rate
        Tokens a second that it loads from a lower tier; 0: it has none, or has measured nothing.
    concurrency
        Requests that it runs at a time; others wait.
    max_tokens
        The longest prompt that it takes.
    store
        Name of the store that it shares with others of the same name; None: what its lower tier has is its own.
    """

    identity: ModelFingerprint
    prefill_rate: float
    concurrency: int
    max_tokens: int
    load_rate: float = 0.0
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Consecutive blocks became readable behind ``parent`` (None: they begin a prompt).

    ``medium``: MEMORY, or one of a lower tier, whatever its name.
    """

    hashes: BlockHashes
    parent: int | None = None
    medium: str = MEMORY


@dataclass(frozen=True, slots=True)
class Removed:
    """Blocks lost their content."""

    hashes: BlockHashes
    medium: str = MEMORY


@dataclass(frozen=True, slots=True)
class Cleared:
    """All blocks of the replica lost their content."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The replica has measured how many tokens a second it loads from its lower tier."""

    load_rate: float


ReplicaEvent = Stored | Removed | Cleared | Measured


def replica_event(event: KVEvent) -> ReplicaEvent:
    """An event of a cache in this process (``foreword.cache.kv_events``) as a router takes it."""
    match event:
        case StoredBlocks(hashes, parent, medium=medium):
            return Stored(np.array(hashes, np.uint64), parent, medium)
        case RemovedBlocks(hashes, medium):
            return Removed(np.array(hashes, np.uint64), medium)
        case ClearedBlocks():
            return Cleared()


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """A request that needs a replica.

    hashes
        Of the whole blocks of its prompt, in its namespace and with its private part: whom it shares with is in them.
    tokens
        Of its prompt.
    avoid
        Replicas that have failed it.
    """

    request_id: str
    hashes: BlockHashes
    tokens: int
    avoid: frozenset[str] = frozenset()


class Why(StrEnum):
    """Why a replica was chosen."""

    PREFIX = "prefix"
    """Its prefix, cached or soon to be, was worth more than what waits there."""
    SPREAD = "spread"
    """Another has more of the prompt, and more work waiting than that saves."""
    COLD = "cold"
    """Nobody has anything of the prompt: the one with the least work."""


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """A request and its place, as routers tell each other: what it will have computed there, and how long that takes."""

    request_id: str
    replica: str
    hashes: BlockHashes
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a reservation, as routers tell each other.

    ended
        It is over; else its first token came.
    cached_tokens
        Of its prompt, as the replica found them.
    """

    request_id: str
    ended: bool
    cached_tokens: int = 0


News = Reservation | Progress
"""What one router tells the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a request goes, and why. Times are estimates in seconds, tokens those of its prompt.

    cached, loadable, expected
        What of the prompt the replica has in memory; what of the rest its lower tier has; what of the rest it is
        computing for others.
    store
        The shared store that it loads from; None: its lower tier is its own, or it has none.
    available, holder
        The longest prefix that any replica has, computes or can load, and one of which that is so; 0 and None where nobody
        has any.
    compute_seconds, load_seconds, queue_seconds
        The cost of the place: computing, loading, and what waits there.
    holder_queue_seconds
        What waits at the holder: why a miss was one of routing.
    names, costs
        The cost of every replica, in the router's order of them; infinite where it could not take the request.
    """

    reservation: Reservation
    why: Why
    cached: int
    loadable: int
    expected: int
    store: str | None
    available: int
    holder: str | None
    compute_seconds: float
    load_seconds: float
    queue_seconds: float
    holder_queue_seconds: float
    names: tuple[str, ...]
    costs: npt.NDArray[np.float64]

    @property
    def replica(self) -> str:
        """The replica's name."""
        return self.reservation.replica

    def seconds(self) -> dict[str, float]:
        """The cost of every replica that could have taken the request, by name."""
        found = zip(self.names, self.costs.tolist(), strict=True)
        return {name: seconds for name, seconds in found if seconds < float("inf")}


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch of events.

    wants_snapshot
        Why the replica's part of the index has to be built anew by ``snapshot``; None: it is complete.
    ignored
        Nothing of it was taken: it was had before, or is a snapshot too old to go on from.
    """

    wants_snapshot: str | None = None
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A request of a replica that died. ``started``: its first token had come."""

    request_id: str
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCounts:
    """What came of a replica's events: batches; those that were doubled; gaps between them; events that cannot be read
    (``garbage``), or name blocks that are not known; snapshots."""

    batches: int = 0
    doubled: int = 0
    gaps: int = 0
    garbage: int = 0
    unknown_parents: int = 0
    unknown_removals: int = 0
    snapshots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStats:
    """One replica as the router sees it.

    blocks
        In its memory, by its events.
    queue_seconds, waiting, running
        Work that waits there, and requests that have not begun to answer; requests that are being answered.
    placed, placed_seconds
        Requests that were placed there since it joined, and their work.
    wants_snapshot
        Why its part of the index is not complete; None: it is.
    silent
        It has computed prompts and told of no event: what is placed there counts as cached there.
    """

    blocks: int
    queue_seconds: float
    waiting: int
    running: int
    placed: int
    placed_seconds: float
    events: FeedCounts
    wants_snapshot: str | None
    silent: bool
    leaving: bool


@dataclass(slots=True)
class Tally:
    """What this router has placed, in prompt tokens where nothing else is said.

    available_tokens, routed_tokens, delivered_tokens
        The longest prefix that any replica had, or was computing, when a request came; the one at the replica that was
        chosen; what that replica then found.
    shared_flights
        Requests that were sent where another was computing their prefix.
    routing_misses
        Requests that were sent where less of them is cached than elsewhere, for the work that waits there.
    """

    requests: int = 0
    prompt_tokens: int = 0
    available_tokens: int = 0
    routed_tokens: int = 0
    delivered_tokens: int = 0
    shared_flights: int = 0
    routing_misses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStats:
    """The fleet as one router sees it.

    imbalance
        The largest work placed at a replica since it joined, over the mean.
    stored_blocks
        Of the blocks of the index, those that lower tiers are known to have.
    news
        The reservations that it has open: what another router that begins now is to hear of it.
    """

    tally: Tally
    imbalance: float
    index_blocks: int
    stored_blocks: int
    index_bytes: int
    replicas: Mapping[str, ReplicaStats]
    news: tuple[News, ...] = ()
