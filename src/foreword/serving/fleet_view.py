"""A fleet as whoever operates it looks at it: plain values, and who gives them. A server over one engine has none."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica. ``queue_seconds``: of work that waits there; ``placed``: requests since it joined; ``leaving``: it takes
    no more."""

    name: str
    host: str
    pid: int
    blocks: int
    queue_seconds: float
    waiting: int
    running: int
    placed: int
    leaving: bool


@dataclass(frozen=True, slots=True)
class FleetState:
    """All replicas, and what became of prompts and requests, in tokens of prompts where nothing else is said.

    available_tokens, routed_tokens, delivered_tokens
        The longest prefix that any replica had when a request came: what one cache of all together would have; the one at
        the replica that was chosen; what that replica then found.
    routing_misses
        Requests sent where less of them was cached than elsewhere, for the work that waited there.
    shared_flights
        Requests sent where another was computing their prefix.
    imbalance
        The largest work placed at a replica, over the mean.
    joined, left, lost, refused
        Replicas so far. Those that left had said that they were to end.
    resumed
        Requests that went on at another replica.
    losses
        The last replicas lost, and why.
    """

    replicas: tuple[ReplicaView, ...]
    prompt_tokens: int
    available_tokens: int
    routed_tokens: int
    delivered_tokens: int
    routing_misses: int
    shared_flights: int
    imbalance: float
    joined: int
    left: int
    lost: int
    refused: int
    resumed: int
    losses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a request went, and why.

    why
        ``prefix``: its prefix was there. ``spread``: another had more of it and too much work waiting. ``cold``: nobody had.
    routed_tokens, available_tokens
        Of its prompt, at that replica, and at ``holder``, who had the most.
    loadable_tokens, store_shared
        Of those at that replica, what it has to load: from a store that the fleet shares, or of its own.
    queue_seconds, holder_queue_seconds
        Work that waited at both.
    """

    replica: str
    why: str
    routed_tokens: int
    loadable_tokens: int
    store_shared: bool
    available_tokens: int
    holder: str | None
    queue_seconds: float
    holder_queue_seconds: float

    @property
    def words(self) -> str:
        """A sentence of it."""
        if self.holder is None:
            return f"Sent to {self.replica}: no replica had any of its prefix."
        if self.holder == self.replica:
            return f"Sent to {self.replica}, which {self._finds}."
        return (
            f"A routing miss: {self.available_tokens} tokens were held by {self.holder}, which had "
            f"{self.holder_queue_seconds:.1f} s of work queued; sent to {self.replica}, which {self._finds}."
        )

    @property
    def _finds(self) -> str:
        """What the replica has of it, and where."""
        there = self.routed_tokens - self.loadable_tokens
        had = f"had {there} tokens of it"
        if not self.loadable_tokens:
            return had
        store = "the shared store" if self.store_shared else "its own store"
        loads = f"loads {self.loadable_tokens} {'more' if there else 'tokens of it'} from {store}"
        return f"{had} and {loads}" if there else loads


class FleetView(Protocol):
    """Tells of a fleet."""

    def fleet_state(self) -> FleetState:
        """All of it, now."""
        ...

    def placed(self, request_id: str) -> Placed | None:
        """Where a request went; None when that is unknown or forgotten."""
        ...
