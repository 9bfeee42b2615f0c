"""The router: which replica takes a request. It chooses and reserves in one step."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from foreword.cache.namespace import ModelFingerprint
from foreword.errors import ConfigError, Overloaded, ParameterError, PromptTooLong
from foreword.routing.choice import Choice, Coverage, choose
from foreword.routing.config import RouterConfig
from foreword.routing.feed import Feed
from foreword.routing.flights import Flights
from foreword.routing.index import PrefixIndex
from foreword.routing.loads import CLOSED, Loads
from foreword.routing.reach import depth, depths
from foreword.routing.records import (
    Applied,
    BlockHashes,
    FeedCounts,
    Lost,
    News,
    Placement,
    Progress,
    ReplicaEvent,
    ReplicaFacts,
    ReplicaStats,
    Reservation,
    RoutedRequest,
    RouterStats,
    Tally,
    Why,
)


@dataclass(eq=False)
class _Replica:
    """A replica that has joined: its number, its facts, its events, and the requests that are there."""

    number: int
    facts: ReplicaFacts
    feed: Feed
    held: "dict[str, _Held]" = field(default_factory=dict)
    leaving: bool = False
    unheard: int = 0  # prompts that it computed since it last told of an event
    placed: int = 0  # requests
    seconds: float = 0.0  # of work placed
    loads_at: float = 0.0  # tokens a second from its lower tier, as it measured; 0: it has not


@dataclass(eq=False)
class _Held:
    """A reservation, which other router made it (None: this one), and when its request began to answer."""

    reservation: Reservation
    peer: str | None
    started: float | None = None
    cached: int = 0  # tokens of its prompt, as the replica found them


class Router:
    """Chooses replicas for requests: those that have their prefix, unless more work waits there than that saves.

    It does no IO and reads no clock: whoever runs it hands in what replicas tell of themselves. ``now`` is in seconds of any
    clock that does not go back.

    Several routers of one fleet see all of its work if each passes what it is told by ``tell`` to the others' ``heard``, in
    that order. They need no common clock, but each request needs a name of its own in all of them.
    """

    def __init__(
        self,
        config: RouterConfig | None = None,
        identity: ModelFingerprint | None = None,
        tell: Callable[[News], None] = lambda _: None,
    ):
        """``identity``: what replicas must be equal in; None: in what the first one is. ``tell``: takes what other routers
        are to hear; it is called in the midst of a choice and must not raise."""
        self.config = RouterConfig() if config is None else config
        self._identity = identity
        self._memory = PrefixIndex(self.config.expected_blocks)
        self._lower = PrefixIndex()
        self._flights = Flights()
        self._loads = Loads(self.config.balance_seconds)
        self._replicas: dict[str, _Replica] = {}
        self._names: tuple[str, ...] = ()  # by number; empty where there is none
        self._salts: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)  # by number
        self._stores: dict[str, int] = {}  # shared ones
        self._store_rates: dict[str | None, float] = {}  # at which replicas were last measured to load from these
        self._lower_places: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # by number: as whom _lower knows its lower tier
        self._held: dict[str, _Held] = {}  # by request
        self._heard: dict[str, float] = {}  # requests of other routers, and when they were placed, oldest first
        self._tally = Tally()
        self._tell = tell

    def join(self, replica: str, facts: ReplicaFacts) -> None:
        """A replica takes requests from now on; ask it for a snapshot if it has computed anything before.

        ConfigError, by name, if its blocks are not those of the fleet; ParameterError if one of this name has joined.
        """
        if replica in self._replicas:
            raise ParameterError(f"Replica {replica!r} has joined before. Say died({replica!r}) first if it began anew.")
        self._identity = _agreed(replica, facts, self._identity)
        if "" not in self._names:
            self._names += ("",)
            self._salts = np.append(self._salts, np.uint64(0))
            self._lower_places = np.append(self._lower_places, 0)
        number = self._names.index("")
        self._name(number, replica)
        self._salts[number] = _name_hash(replica)
        place = 2 * number if facts.store is None else 2 * self._stores.setdefault(facts.store, len(self._stores)) + 1
        self._lower_places[number] = place
        shares, measured = facts.store is not None, partial(self._measured, replica)
        feed = Feed(number, self._memory, self._lower, place, shares, self.config, measured)
        self._replicas[replica] = _Replica(number, facts, feed, loads_at=facts.load_rate)
        self._loads.join(number, facts)
        if not facts.load_rate:
            self._loads.loads_at(number, self._store_rates.get(facts.store, 0.0))

    def leave(self, replica: str) -> None:
        """A replica takes no more requests; those that are there go on. After the last of them it is forgotten."""
        known = self._replica(replica)
        known.leaving = True
        self._loads.close(known.number)
        if not known.held:
            self._forget(replica, known)

    def died(self, replica: str, now: float) -> tuple[Lost, ...]:
        """A replica is gone, with all that it had. Returns the requests that this router had placed there."""
        known = self._replica(replica)
        held = list(known.held.values())
        for each in held:
            self._end(each.reservation.request_id, now)
        if replica in self._replicas:
            self._forget(replica, known)
        return tuple(Lost(each.reservation.request_id, each.started is not None) for each in held if each.peer is None)

    def apply(self, replica: str, sequence: int, events: Sequence[ReplicaEvent]) -> Applied:
        """Take a batch of a replica's events; ``sequence`` counts its batches from 0. Says whether a snapshot is needed.

        A batch that was had before is ignored; missing and wrong ones are counted, and change no other replica's part.
        """
        known = self._replica(replica)
        taken = known.feed.apply(sequence, events)
        known.unheard = 0 if taken else known.unheard
        return Applied(known.feed.wants_snapshot, not taken)

    def snapshot(self, replica: str, sequence: int, events: Sequence[ReplicaEvent]) -> Applied:
        """Build a replica's part anew: ``events`` store all that it had after batch ``sequence`` (-1: before the first)."""
        known = self._replica(replica)
        taken = known.feed.snapshot(sequence, events)
        known.unheard = 0
        return Applied(known.feed.wants_snapshot, not taken)

    def select(self, request: RoutedRequest, now: float) -> Placement:
        """Choose a replica and reserve it: from now on the request counts as work there, and its prefix as soon there.

        Overloaded if no replica takes requests; PromptTooLong if none takes one of that many tokens.
        """
        if request.request_id in self._held:
            raise ParameterError(f"Request {request.request_id!r} has a place: say that it finished before it gets another.")
        self._drop_forgotten(now)
        coverage, refuses = self._coverage(request.hashes), self._refuses(request)
        seed = request.hashes[-1] if len(request.hashes) else np.uint64(zlib.crc32(request.request_id.encode()))
        choice = choose(
            coverage, request.tokens, self._block_size, refuses, self._loads, self._salts ^ seed, self.config, now
        )
        placement = self._placement(request, coverage, choice)
        self._hold(placement.reservation, None, now)
        self._count(placement)
        return placement

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """A request's first token came; its replica had so many tokens of the prompt. Nothing for one without a place."""
        if request_id in self._held:
            self._start(request_id, cached_tokens, now)
            self._tally.delivered_tokens += cached_tokens

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended, however it ended: its place is free. Nothing for one without a place."""
        self._end(request_id, now)

    def heard(self, peer: str, news: News | None, now: float) -> None:
        """Another router has reserved, or says what became of its reservation; or (None) it has died, and what it had
        reserved counts no more. Of replicas unknown here nothing is kept."""
        if news is None:
            for request_id in [name for name, each in self._held.items() if each.peer == peer]:
                self._end(request_id, now)
            return
        held = self._held.get(news.request_id)
        if isinstance(news, Reservation):
            if news.replica in self._replicas and held is None:
                self._hold(news, peer, now)
        elif held is not None and held.peer == peer:
            if news.ended:
                self._end(news.request_id, now)
            else:
                self._start(news.request_id, news.cached_tokens, now)

    def stats(self, now: float) -> RouterStats:
        """The fleet as this router sees it."""
        queue = self._loads.queue_seconds(now)
        replicas = {name: self._stats_of(known, float(queue[known.number])) for name, known in self._replicas.items()}
        seconds = [known.seconds for known in self._replicas.values()]
        return RouterStats(
            tally=replace(self._tally),
            imbalance=max(seconds) * len(seconds) / sum(seconds) if any(seconds) else 1.0,
            index_blocks=self._memory.blocks() + self._lower.blocks(),
            stored_blocks=self._lower.blocks(),
            index_bytes=self._memory.nbytes() + self._lower.nbytes(),
            replicas=replicas,
            news=self._news(),
        )

    @property
    def _block_size(self) -> int:
        assert self._identity is not None, "nobody has joined"
        return self._identity.block_size

    def _replica(self, name: str) -> _Replica:
        known = self._replicas.get(name)
        if known is None:
            raise ParameterError(f"Replica {name!r} has not joined; these have: {', '.join(self._replicas) or 'none'}.")
        return known

    def _refuses(self, request: RoutedRequest) -> npt.NDArray[np.bool_]:
        """Which replicas cannot take a request: not all of them."""
        limits = self._loads.table["limit"]
        refuses = limits < request.tokens
        for name in request.avoid:
            if name in self._replicas:
                refuses[self._replicas[name].number] = True
        if np.count_nonzero(refuses) < len(refuses):
            return refuses
        most = limits.max(initial=CLOSED)
        if CLOSED < most < request.tokens:
            told = f"The prompt has {request.tokens} tokens; the largest replica takes {most:.0f}. Shorten it."
            raise PromptTooLong(told, request.tokens, int(most))
        raise Overloaded("No replica is ready. Try again later.", self.config.retry_seconds)

    def _measured(self, replica: str, load_rate: float) -> None:
        """A replica loads so many tokens a second; others of its store that have measured nothing are taken to do so."""
        known = self._replicas[replica]
        known.loads_at = load_rate
        self._loads.loads_at(known.number, load_rate)
        store = known.facts.store
        if store is not None:
            self._store_rates[store] = load_rate
            for each in self._replicas.values():
                if each.facts.store == store and not each.loads_at:
                    self._loads.loads_at(each.number, load_rate)

    def _coverage(self, hashes: BlockHashes) -> Coverage:
        count, lower = len(self._names), None
        if self._lower.blocks():
            places = 2 * max(count, len(self._stores)) + 1
            lower = depths(self._lower.reach(hashes), places)[self._lower_places]
        return Coverage(self._memory.reach(hashes), self._flights.reach(hashes), lower)

    def _placement(self, request: RoutedRequest, coverage: Coverage, choice: Choice) -> Placement:
        at, holder = choice.replica, choice.holder
        cached = min(depth(coverage.memory, at) * self._block_size, choice.here)
        seconds = choice.compute + choice.load
        why = Why.COLD if not choice.available else Why.PREFIX if holder == at else Why.SPREAD
        return Placement(
            reservation=Reservation(request.request_id, self._names[at], request.hashes, request.tokens, seconds),
            why=why,
            cached=cached,
            expected=choice.here - cached,
            loadable=choice.loaded,
            store=self._replicas[self._names[at]].facts.store,
            available=choice.available,
            holder=self._names[holder] if choice.available else None,
            compute_seconds=choice.compute,
            load_seconds=choice.load,
            queue_seconds=choice.queue.item(at),
            holder_queue_seconds=choice.queue.item(holder),
            names=self._names,
            costs=choice.costs,
        )

    def _news(self) -> tuple[News, ...]:
        own = [held for held in self._held.values() if held.peer is None]
        begun = [Progress(held.reservation.request_id, False, held.cached) for held in own if held.started is not None]
        return (*(held.reservation for held in own), *begun)

    def _stats_of(self, known: _Replica, queue_seconds: float) -> ReplicaStats:
        table, at = self._loads.table, known.number
        return ReplicaStats(
            blocks=self._memory.blocks(at),
            queue_seconds=queue_seconds,
            waiting=int(table["waiting"][at]),
            running=int(table["running"][at]),
            placed=known.placed,
            placed_seconds=known.seconds,
            events=FeedCounts(**known.feed.counts),
            wants_snapshot=known.feed.wants_snapshot,
            silent=known.unheard >= self.config.silent_after,
            leaving=known.leaving,
        )

    def _hold(self, reservation: Reservation, peer: str | None, now: float) -> None:
        known = self._replicas[reservation.replica]
        held = known.held[reservation.request_id] = _Held(reservation, peer)
        self._held[reservation.request_id] = held
        if peer is None:
            self._tell(reservation)
        else:
            self._heard[reservation.request_id] = now
        self._flights.add(known.number, reservation.hashes)
        self._loads.placed(known.number, reservation.seconds, now)
        known.placed += 1
        known.seconds += reservation.seconds

    def _count(self, placement: Placement) -> None:
        tally, tokens = self._tally, placement.cached + placement.loadable + placement.expected
        tally.requests += 1
        tally.prompt_tokens += placement.reservation.tokens
        tally.available_tokens += placement.available
        tally.routed_tokens += tokens
        tally.shared_flights += placement.expected > 0
        tally.routing_misses += placement.why is Why.SPREAD

    def _start(self, request_id: str, cached_tokens: int, now: float) -> None:
        held = self._held.get(request_id)
        if held is None or held.started is not None:
            return
        held.started, held.cached = now, cached_tokens
        if held.peer is None:
            self._tell(Progress(request_id, False, cached_tokens))
        reservation = held.reservation
        known = self._replicas[reservation.replica]
        self._loads.started(known.number, reservation.seconds, now)
        if cached_tokens < len(reservation.hashes) * self._block_size:  # it has computed whole blocks
            known.unheard += 1
            if known.unheard >= self.config.silent_after:
                known.feed.believe(reservation.hashes)

    def _end(self, request_id: str, now: float) -> None:
        held = self._held.pop(request_id, None)
        if held is None:
            return
        if held.peer is None:
            self._tell(Progress(request_id, True))
        self._heard.pop(request_id, None)
        reservation = held.reservation
        known = self._replicas[reservation.replica]
        del known.held[request_id]
        self._flights.remove(known.number, reservation.hashes)
        if held.started is None:
            self._loads.withdrawn(known.number, reservation.seconds, now)
        else:
            self._loads.ended(known.number, now - held.started)
        if known.leaving and not known.held:
            self._forget(reservation.replica, known)

    def _forget(self, name: str, known: _Replica) -> None:
        """A replica that has nothing placed there is gone."""
        self._loads.close(known.number)
        self._memory.clear(known.number)
        if known.facts.store is None:
            self._lower.clear(int(self._lower_places[known.number]))
        del self._replicas[name]
        self._name(known.number, "")

    def _name(self, number: int, name: str) -> None:
        self._names = (*self._names[:number], name, *self._names[number + 1 :])

    def _drop_forgotten(self, now: float) -> None:
        """End what other routers reserved long ago and said no more of."""
        while self._heard:
            request_id, at = next(iter(self._heard.items()))
            if now - at < self.config.forget_seconds:
                return
            self._end(request_id, now)


def _agreed(replica: str, facts: ReplicaFacts, fleet: ModelFingerprint | None) -> ModelFingerprint:
    """The identity of the fleet with this replica in it. ConfigError, by name, where it does not fit."""
    for name in ("prefill_rate", "concurrency", "max_tokens"):
        value = getattr(facts, name)
        if not 0 < value < float("inf"):
            raise ConfigError(f"Replica {replica!r} says {name} is {value}; it must be more than 0.")
    if not 0 <= facts.load_rate < float("inf"):
        raise ConfigError(f"Replica {replica!r} says load_rate is {facts.load_rate}; it cannot be negative.")
    for field_ in fields(ModelFingerprint):
        own = getattr(facts.identity, field_.name)
        if fleet is not None and own != getattr(fleet, field_.name):
            raise ConfigError(
                f"Replica {replica!r} cannot join: its {field_.name} is {own!r}, that of the fleet "
                f"{getattr(fleet, field_.name)!r}. Replicas of one fleet have one model, dtype, block size and canary."
            )
    return facts.identity if fleet is None else fleet


def _name_hash(name: str) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    )
