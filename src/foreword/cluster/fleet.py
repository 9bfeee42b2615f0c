"""The fleet as serving sees it: one engine. Requests go to the replicas that a router chooses, and survive them.

Knows no network and no Ray: whoever finds replicas hands them in, says when one is lost, and what one tells of its cache.
"""

import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from foreword.cache import Usage
from foreword.cache.block_hashes import BlockHasher
from foreword.cluster.config import FleetConfig
from foreword.cluster.failover import FRUITLESS, FleetStream, Tell
from foreword.cluster.messages import (
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    CacheChange,
    CacheNews,
    LoadMeasured,
    Noted,
    Placing,
    Progressed,
    Reserved,
    Welcome,
)
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.request import EngineRequest, check_request, scope_of
from foreword.engine.stream import OnEnd
from foreword.engine.tier_state import TierState
from foreword.errors import Overloaded, StepFailed, Unavailable
from foreword.events import EventSink, RequestFinished
from foreword.routing import (
    BlockHashes,
    Cleared,
    Measured,
    News,
    Placement,
    Progress,
    Removed,
    ReplicaEvent,
    ReplicaFacts,
    ReplicaStats,
    Reservation,
    RoutedRequest,
    Router,
    RouterStats,
    Stored,
)
from foreword.serving.fleet_view import FleetState, Placed, ReplicaView
from foreword.tokens import pack_tokens

REMEMBERED = 4096
"""Placements of requests that can be explained."""
HASH = np.dtype("<u8")
NO_USAGE = Usage(0, 0, 0, 0, 0, 0)


class Replica(Protocol):
    """An engine of the fleet, as whoever reaches it hands it in."""

    @property
    def welcome(self) -> Welcome:
        """What it has said of itself."""
        ...

    @property
    def state(self) -> EngineState:
        """As it was when it last gave a sign of life."""
        ...

    def ask(self, request: EngineRequest, tell: Tell) -> Callable[[], None]:
        """Have a request answered; returns what ends it there."""
        ...

    def want_snapshot(self) -> None:
        """Have it tell again of all that its cache holds."""
        ...

    def pass_on(self, placing: Placing) -> None:
        """Have it tell other ingresses what this one has placed there."""
        ...


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """What became of replicas and requests since the start.

    joined, left, lost, refused
        Replicas. Those that left had said that they were to end.
    resumed
        Requests that went on at another replica, each as often as it did.
    """

    joined: int = 0
    left: int = 0
    lost: int = 0
    refused: int = 0
    resumed: int = 0


class Fleet:
    """Replicas of one model behind one router; see EngineFront. Lives in one event loop, except for ``close``.

    info, text
        Those of the first replica; all others have the same.
    """

    def __init__(
        self,
        info: EngineInfo,
        text: ModelText,
        config: FleetConfig,
        now: Callable[[], float] = time.monotonic,
    ):
        self.text = text
        self.config = config
        self.counts = FleetCounts()
        self.losses: deque[str] = deque(maxlen=20)
        """Replicas lost of late, and why."""
        self.placements: OrderedDict[str, Placement] = OrderedDict()
        """Where requests went of late, by id: of one that was resumed the last place."""
        self.now = now
        self._one = self.info = info
        self._router = Router(identity=info.fingerprint, tell=self._pass_on)
        self._hasher = BlockHasher(info.block_size)
        self._seeds = random.SystemRandom()
        self._replicas: dict[str, Replica] = {}
        self._open: dict[str, dict[FleetStream, None]] = {}  # by replica
        self._leaving: set[str] = set()
        self._places: dict[FleetStream, str] = {}
        self._reserved: dict[str, Replica] = {}  # at whom each request of the router's is
        self._homeless: dict[FleetStream, float] = {}  # lost with their replicas; until when they wait for another one
        self._sinks: list[EventSink] = []
        self._closed: Exception | None = None

    @property
    def state(self) -> EngineState:
        """All replicas together."""
        states = [replica.state for replica in self._replicas.values()]
        usage = Usage(*(sum(getattr(each.usage, name.name) for each in states) for name in fields(Usage)))
        running, waiting = sum(each.running for each in states), sum(each.waiting for each in states)
        return EngineState(running, waiting + len(self._homeless), sum(each.preemptions for each in states), usage)

    @property
    def tier_state(self) -> TierState | None:
        """None: stores are below each replica, and their figures are not told here."""
        return None

    @property
    def death(self) -> Exception | None:
        """Only ``close`` ends a fleet: replicas come back."""
        return self._closed

    @property
    def replicas(self) -> dict[str, Replica]:
        """Those that take requests, by name."""
        return dict(self._replicas)

    def join(self, replica: Replica) -> None:
        """From now on requests may go there. ConfigError, by name, if it is not of the fleet's model, dtype or bits."""
        welcome = replica.welcome
        info = welcome.info
        facts = ReplicaFacts(
            identity=info.fingerprint,
            prefill_rate=welcome.prefill_rate,
            concurrency=info.max_num_seqs,
            max_tokens=min(info.max_model_len - 1, info.cache_tokens),
            store=welcome.store,
        )
        try:
            self._router.join(welcome.name, facts)
        except Exception:
            self.counts = replace(self.counts, refused=self.counts.refused + 1)
            raise
        self._replicas[welcome.name] = replica
        self._open[welcome.name] = {}
        self.counts = replace(self.counts, joined=self.counts.joined + 1)
        self._add_up()
        homeless, self._homeless = list(self._homeless), {}
        for stream in homeless:
            self._go_on(stream)

    def leave(self, replica: Replica) -> None:
        """A replica is to end: it takes no more requests, and goes on with those that it has."""
        name = replica.welcome.name
        if self._replicas.get(name) is replica and name not in self._leaving:
            self._leaving.add(name)
            self._router.leave(name)

    def lose(self, replica: Replica, why: str) -> None:
        """A replica is gone, or taken for gone: what it was answering goes on elsewhere."""
        name = replica.welcome.name
        if self._replicas.get(name) is not replica:
            return
        del self._replicas[name]
        if name in self._leaving:
            self._leaving.remove(name)
            self.counts = replace(self.counts, left=self.counts.left + 1)
        else:
            self.counts = replace(self.counts, lost=self.counts.lost + 1)
            self.losses.append(f"{name}: {why}")
        if name in self.stats().replicas:  # one that was leaving and had nothing to do is forgotten
            self._router.died(name, self.now())
        self._add_up()
        for stream in self._open.pop(name):
            del self._places[stream]
            stream.lost()
            self._go_on(stream)

    def cache_news(self, replica: Replica, news: CacheNews) -> None:
        """What has left and entered a replica's cache."""
        name = replica.welcome.name
        if self._replicas.get(name) is not replica or name in self._leaving:
            return
        events = [_event(event) for event in news.events]
        take = self._router.snapshot if news.snapshot else self._router.apply
        if take(name, news.sequence, events).wants_snapshot is not None:
            replica.want_snapshot()

    def heard(self, replica: Replica, peer: str, of: Sequence[Placing]) -> None:
        """What another ingress has placed at a replica, which calls it ``peer``."""
        name = replica.welcome.name
        if self._replicas.get(name) is replica:
            for placing in of:
                self._router.heard(f"{peer} at {name}", _news(placing, name), self.now())

    def noted(self, news: Noted) -> None:
        """What a replica's engine tells an observer: of requests in the fleet's names and by the fleet's clock."""
        for event in news.requests:
            told = _here(event, self.now())
            for sink in self._sinks:
                sink(told)
        for step in news.steps:
            for sink in self._sinks:
                sink(step)

    def submit(self, request: EngineRequest, on_end: OnEnd) -> FleetStream:
        """Have a request answered. PromptError, ParameterError and Unavailable are raised here."""
        if self._closed is not None:
            raise Unavailable(str(self._closed))
        check_request(request, self._one)
        if request.params.seed is None:
            request = replace(request, params=replace(request.params, seed=self._seeds.getrandbits(62)))
        if request.request_id is None:
            request = replace(request, request_id=f"request-{self._seeds.getrandbits(64):016x}")
        stream = FleetStream(request, self.now, on_end)
        stream.on_start, stream.on_over = self._started, self._over
        try:
            self._place(stream)
        except Overloaded as error:
            raise Unavailable("No replica is ready. Try again in a moment.", self.config.retry_seconds) from error
        return stream

    def abort_all(self, error: Exception) -> None:
        """End all requests; their readers get the error."""
        for stream in [*self._places, *self._homeless]:
            stream.give_up(error)

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """From now on tell ``sink`` too of requests and steps, of all replicas. Returns what ends that."""
        self._sinks.append(sink)
        return lambda: self._sinks.remove(sink)

    def close(self) -> None:
        """Take no more requests."""
        self._closed = Unavailable("The fleet's ingress has been closed.")

    def look_after(self) -> None:
        """To be called now and then: end what has waited too long for a replica."""
        now = self.now()
        for stream in [stream for stream, until in self._homeless.items() if until <= now]:
            del self._homeless[stream]
            seconds = self.config.failover_seconds
            stream.fail(Unavailable(f"The replica that answered is gone, and no other was ready for {seconds:g} s."))

    def stats(self) -> RouterStats:
        """The fleet as its router sees it."""
        return self._router.stats(self.now())

    def fleet_state(self) -> FleetState:
        """The fleet as its operator sees it."""
        stats, counts = self.stats(), self.counts
        tally = stats.tally
        return FleetState(
            replicas=tuple(_view(self._replicas[name].welcome, known) for name, known in sorted(stats.replicas.items())),
            prompt_tokens=tally.prompt_tokens,
            available_tokens=tally.available_tokens,
            routed_tokens=tally.routed_tokens,
            delivered_tokens=tally.delivered_tokens,
            routing_misses=tally.routing_misses,
            shared_flights=tally.shared_flights,
            imbalance=stats.imbalance,
            joined=counts.joined,
            left=counts.left,
            lost=counts.lost,
            refused=counts.refused,
            resumed=counts.resumed,
            losses=tuple(self.losses),
        )

    def placed(self, request_id: str) -> Placed | None:
        """Where a request went; of one that was resumed, last."""
        place = self.placements.get(request_id)
        if place is None:
            return None
        return Placed(
            replica=place.replica,
            why=place.why.value,
            routed_tokens=place.cached + place.loadable + place.expected,
            loadable_tokens=place.loadable,
            store_shared=place.store is not None,
            available_tokens=place.available,
            holder=place.holder,
            queue_seconds=place.queue_seconds,
            holder_queue_seconds=place.holder_queue_seconds,
        )

    def _go_on(self, stream: FleetStream) -> None:
        """Find a place for a request whose replica is gone; where there is none it waits for one."""
        if stream.fruitless >= FRUITLESS:
            stream.fail(StepFailed(f"{stream.fruitless} replicas in a row were lost with this request before a token came."))
            return
        try:
            self._place(stream)
            self.counts = replace(self.counts, resumed=self.counts.resumed + 1)
        except Overloaded:
            self._homeless[stream] = self.now() + self.config.failover_seconds
        except Exception as error:
            stream.fail(error)

    def _place(self, stream: FleetStream) -> None:
        request = stream.next_attempt()
        namespace, private = scope_of(request, self._one.fingerprint)
        tokens = request.tokens + pack_tokens(stream.known_tokens())
        hashes = self._hasher.prompt(namespace.key, tokens if request.use_cache else b"", private)
        routed = RoutedRequest(stream.attempt_id, hashes, len(tokens) // 4)
        placement = self._router.select(routed, self.now())
        self._places[stream] = placement.replica
        self._open[placement.replica][stream] = None
        self.placements[str(stream.request.request_id)] = placement
        while len(self.placements) > REMEMBERED:
            self.placements.popitem(last=False)
        stream.asked(self._replicas[placement.replica].ask(request, stream.teller()))

    def _pass_on(self, news: News) -> None:
        """Have other ingresses hear what the router has reserved, and what became of it: by the replica that it is at."""
        if isinstance(news, Reservation):
            replica = self._reserved[news.request_id] = self._replicas[news.replica]
        else:
            replica = self._reserved[news.request_id]
            if news.ended:
                del self._reserved[news.request_id]
        replica.pass_on(_placing(news))

    def _started(self, stream: FleetStream, cached_tokens: int) -> None:
        self._router.started(stream.attempt_id, cached_tokens, self.now())

    def _over(self, stream: FleetStream) -> None:
        self._homeless.pop(stream, None)
        place = self._places.pop(stream, None)
        if place is not None:
            self._open[place].pop(stream, None)
            self._router.finished(stream.attempt_id, self.now())

    def _add_up(self) -> None:
        running = sum(replica.welcome.info.max_num_seqs for replica in self._replicas.values())
        self.info = replace(self._one, max_num_seqs=max(1, running))


def _view(welcome: Welcome, known: ReplicaStats) -> ReplicaView:
    return ReplicaView(
        name=welcome.name,
        host=welcome.host,
        pid=welcome.pid,
        blocks=known.blocks,
        queue_seconds=known.queue_seconds,
        waiting=known.waiting,
        running=known.running,
        placed=known.placed,
        leaving=known.leaving,
    )


def _placing(news: News) -> Placing:
    if isinstance(news, Reservation):
        return Reserved(news.request_id, news.hashes.astype(HASH).tobytes(), news.tokens, news.seconds)
    return Progressed(news.request_id, news.ended, news.cached_tokens)


def _news(placing: Placing, replica: str) -> News:
    if isinstance(placing, Reserved):
        hashes = _hashes(placing.hashes)
        return Reservation(placing.request_id, replica, hashes, placing.tokens, placing.seconds)
    return Progress(placing.request_id, placing.ended, placing.cached_tokens)


def _event(told: CacheChange) -> ReplicaEvent:
    match told:
        case BlocksStored(hashes, parent, medium):
            return Stored(_hashes(hashes), parent, medium)
        case BlocksRemoved(hashes, medium):
            return Removed(_hashes(hashes), medium)
        case LoadMeasured(load_rate):
            return Measured(load_rate)
        case BlocksCleared():
            return Cleared()


def _hashes(told: bytes) -> BlockHashes:
    """Of bytes that are no hashes one that no block has: the router counts it as garbage."""
    return np.frombuffer(told, HASH) if len(told) % HASH.itemsize == 0 else np.zeros(1, HASH)


def _here(event: RequestFinished, now: float) -> RequestFinished:
    """An event of a replica, which has just been told, in this process' names and seconds."""
    offset = now - event.finished
    account = event.account
    if account.hit_end is not None and account.hit_end.evicted_at is not None:
        evicted_at = account.hit_end.evicted_at + offset
        account = replace(account, hit_end=replace(account.hit_end, evicted_at=evicted_at))
    return replace(
        event,
        request_id=event.request_id.partition("~")[0],
        arrival=event.arrival + offset,
        admitted=None if event.admitted is None else event.admitted + offset,
        first_token=None if event.first_token is None else event.first_token + offset,
        finished=now,
        account=account,
    )
