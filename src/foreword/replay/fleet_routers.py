"""Who sends requests to replicas in a simulated fleet: the real router, and the plain rules beside which it is measured."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from foreword.cache.kv_events import KVEvent
from foreword.routing import ReplicaFacts, RoutedRequest, Router, replica_event


class Snapshots(Protocol):
    """A replica that can be asked for all that it has."""

    def snapshot(self) -> tuple[int, list[KVEvent]]:
        """What it has cached, and behind which batch of events."""
        ...


class FleetRouter(Protocol):
    """Chooses the replica of each request, and hears what the fleet tells."""

    def join(self, replica: str, facts: ReplicaFacts) -> None:
        """A replica takes requests."""
        ...

    def place(self, request: RoutedRequest, now: float) -> str:
        """The replica that a request goes to."""
        ...

    def apply(self, replica: str, source: Snapshots, sequence: int, events: Sequence[KVEvent]) -> None:
        """A batch of a replica's events."""
        ...

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """A request's first token came; so much of its prompt was not computed."""
        ...

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended."""
        ...


class PrefixRouting:
    """The router of this house. What it asks for it gets: a snapshot comes at once."""

    def __init__(self, router: Router):
        self.router = router

    def join(self, replica: str, facts: ReplicaFacts) -> None:
        """A replica takes requests."""
        self.router.join(replica, facts)

    def place(self, request: RoutedRequest, now: float) -> str:
        """The replica that a request goes to."""
        return self.router.select(request, now).replica

    def apply(self, replica: str, source: Snapshots, sequence: int, events: Sequence[KVEvent]) -> None:
        """A batch of a replica's events."""
        taken = [replica_event(event) for event in events]
        if self.router.apply(replica, sequence, taken).wants_snapshot is not None:
            at, everything = source.snapshot()
            self.router.snapshot(replica, at, [replica_event(event) for event in everything])

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """A request's first token came; so much of its prompt was not computed."""
        self.router.started(request_id, cached_tokens, now)

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended."""
        self.router.finished(request_id, now)


class PlainRouting:
    """A rule that knows nothing of prefixes: it is asked with how many requests each replica has."""

    def __init__(self, rule: Callable[[Sequence[int]], int]):
        self._rule = rule
        self._names: list[str] = []
        self._where: dict[str, str] = {}
        self._open: Counter[str] = Counter()

    def join(self, replica: str, facts: ReplicaFacts) -> None:
        """A replica takes requests."""
        del facts
        self._names.append(replica)

    def place(self, request: RoutedRequest, now: float) -> str:
        """The replica that a request goes to."""
        del now
        chosen = self._names[self._rule([self._open[name] for name in self._names])]
        self._where[request.request_id] = chosen
        self._open[chosen] += 1
        return chosen

    def apply(self, replica: str, source: Snapshots, sequence: int, events: Sequence[KVEvent]) -> None:
        """Events change nothing here."""

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """First tokens change nothing here."""

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended."""
        del now
        where = self._where.pop(request_id, None)
        if where is not None:
            self._open[where] -= 1


def round_robin() -> PlainRouting:
    """One replica after the other."""
    turn = iter(range(2**62))
    return PlainRouting(lambda requests: next(turn) % len(requests))


def least_loaded() -> PlainRouting:
    """The replica with the fewest requests; among equals one by chance."""
    draw = random.Random(0)
    return PlainRouting(lambda requests: min(range(len(requests)), key=lambda at: (requests[at], draw.random())))


def at_random() -> PlainRouting:
    """Any replica."""
    draw = random.Random(0)
    return PlainRouting(lambda requests: draw.randrange(len(requests)))


ROUTERS: dict[str, Callable[[], FleetRouter]] = {
    "prefix": lambda: PrefixRouting(Router()),
    "round-robin": round_robin,
    "least-loaded": least_loaded,
    "random": at_random,
}
"""By the name that ``foreword replay --router`` gives them."""
