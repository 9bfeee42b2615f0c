"""A stand-in for the engine: KV memory whose 'KV' of a token is a hash of all tokens up to it.

Reading back a wrong hash is reading the KV of another prefix: whatever the cache does wrong shows up here. Beside it
stands an observer that knows the cache only by its events, and must come to the same picture.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foreword.cache import (
    Account,
    CacheConfig,
    HitEnd,
    Mark,
    ModelFingerprint,
    Namespace,
    PrefixCache,
    RequestLedger,
    Reservation,
    pack_tokens,
)
from foreword.cache.residency import nodes_below
from foreword.cache.tree import Node
from foreword.events import AllBlocksCleared, BlockRemoved, BlockReused, BlockStored, CacheEvent
from foreword.tokens import TOKEN_BYTES

MODEL = ModelFingerprint(weights="tiny")
SPACE = Namespace(MODEL)


def prefix_hashes(namespace: Namespace, ids: list[int]) -> list[int]:
    """The 'KV' of each token."""
    value, out = zlib.crc32(namespace.key), []
    for token in ids:
        value = zlib.crc32(token.to_bytes(4, "little"), value)
        out.append(value)
    return out


@dataclass(eq=False)
class Running:
    namespace: Namespace
    ids: list[int]  # prompt, then generated tokens
    prompt: int
    ledger: RequestLedger
    reservation: Reservation
    hashes: list[int]


class Observer:
    """What somebody who hears only the events believes: block → (namespace key, start, tokens)."""

    def __init__(self, block_size: int):
        self.width = block_size * TOKEN_BYTES
        self.block_size = block_size
        self.events: list[CacheEvent] = []
        self.stored: dict[int, tuple[bytes, int, bytes]] = {}

    def __call__(self, event: CacheEvent) -> None:
        self.events.append(event)
        if isinstance(event, AllBlocksCleared):
            self.stored.clear()
        elif isinstance(event, BlockRemoved):
            for block in event.blocks:
                del self.stored[block]
        elif isinstance(event, BlockReused):
            found = [self.stored[block] for block in np.frombuffer(event.blocks, np.int32).tolist()]
            assert [start for _, start, _ in found] == [number * self.block_size for number in range(len(found))]
            assert all(len(tokens) == self.width for _, _, tokens in found)
        else:
            assert isinstance(event, BlockStored)
            for number, block in enumerate(event.blocks):
                tokens = event.tokens[number * self.width : (number + 1) * self.width]
                self.stored[block] = (event.namespace, event.start + number * self.block_size, tokens)


@dataclass
class Machine:
    """Runs requests against a cache, checking what every step reads."""

    config: CacheConfig
    now: float = 0.0
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observer = Observer(self.config.block_size)
        self.cache = PrefixCache(self.config, events=self.observer)
        self.memory = np.zeros((self.config.num_blocks, self.config.block_size), np.int64)

    @property
    def events(self) -> list[CacheEvent]:
        return self.observer.events

    def start(
        self, ids: list[int], namespace: Namespace = SPACE, use_cache: bool = True, marks: Sequence[Mark] = ()
    ) -> Running | None:
        self.now += 1
        ledger = RequestLedger(len(ids))
        match = self.cache.match(namespace, pack_tokens(ids), use_cache)
        reservation = self.cache.reserve(match, ledger, self.now, marks)
        if reservation is None:
            return None
        request = Running(namespace, list(ids), len(ids), ledger, reservation, prefix_hashes(namespace, ids))
        self.running.append(request)
        return request

    def must_start(self, ids: list[int], namespace: Namespace = SPACE, marks: Sequence[Mark] = ()) -> Running:
        request = self.start(ids, namespace, marks=marks)
        assert request is not None, "no room"
        return request

    def generate(self, request: Running, token: int) -> bool:
        """Append a sampled token, if there is room for its KV."""
        if not self.cache.grow(request.reservation, len(request.ids) + 1, self.now):
            return False
        request.ids.append(token)
        request.hashes = prefix_hashes(request.namespace, request.ids)
        return True

    def step(self, budget: int = 10**9, fail: bool = False) -> int:
        """Plan all running requests, run, commit. Returns the number of tokens computed."""
        size, planned, done = self.config.block_size, [], 0
        for request in self.running:
            chunk = self.cache.plan(request.reservation, len(request.ids), budget)
            if chunk is not None:
                budget -= chunk.end - chunk.start
                done += chunk.end - chunk.start
                planned.append((request, chunk))
        for action in self.cache.actions.take():
            self.memory[action.target, : action.tokens] = self.memory[action.source, : action.tokens]
        for request, chunk in planned:
            for at in range(chunk.start, chunk.end):
                self.memory[request.reservation.table[at // size], at % size] = -1 if fail else request.hashes[at]
        for request, chunk in planned:
            if fail:
                self.cache.abandon(request.reservation)
            else:
                self.check_readable(request, chunk.end)
        if not fail:
            for request, _ in planned:
                self.cache.commit(request.reservation)
        return done

    def check_readable(self, request: Running, end: int) -> None:
        """The first ``end`` tokens of a request have their own KV."""
        size, table = self.config.block_size, request.reservation.table
        got = [int(self.memory[table[at // size], at % size]) for at in range(end)]
        wrong = [at for at in range(end) if got[at] != request.hashes[at]]
        assert not wrong, (wrong[0], end, request.reservation.shared_end, request.reservation.copy)

    def finish(self, request: Running) -> None:
        self.now += 1
        self.running.remove(request)
        self.cache.release(request.reservation, self.now, pack_tokens(request.ids[request.prompt :]))

    def complete(self) -> int:
        """Step until all that runs has its KV; returns the tokens computed."""
        total = 0
        while any(request.reservation.computed < len(request.ids) for request in self.running):
            done = self.step()
            assert done, "stuck"
            total += done
        return total

    def drain(self) -> None:
        """Complete and finish all that runs."""
        self.complete()
        for request in list(self.running):
            self.finish(request)
        self.check()

    def run(self, ids: list[int], namespace: Namespace = SPACE, marks: Sequence[Mark] = ()) -> Account:
        """One request from beginning to end."""
        request = self.must_start(ids, namespace, marks)
        while request.reservation.computed < len(ids):
            assert self.step(), "stuck"
        self.finish(request)
        self.check()
        return request.ledger.account()

    def nodes(self) -> list[Node]:
        """All nodes that can be found."""
        return [node for root in self.cache._tree.roots.values() for node in nodes_below(root)]

    def check(self) -> None:
        """Every invariant, and: the observer believes what is in the tree."""
        self.cache.check_integrity()
        size, stored = self.config.block_size, {}
        for node in self.nodes():
            for number, start in enumerate(range(node.start, node.ready, size)):
                end = min(start + size, node.ready)
                tokens = node.tokens(start, end)
                stored[int(node.blocks[number])] = (node.root.key, start, tokens)
        assert self.observer.stored == stored


def machine(blocks: int = 64, size: int = 4, ghosts: float = 4.0) -> Machine:
    """A cache with blocks of four tokens."""
    return Machine(CacheConfig(num_blocks=blocks, block_size=size, ghost_ratio=ghosts))


def match(m: Machine, ids: list[int], namespace: Namespace = SPACE) -> tuple[int, int, int]:
    """What a look-up finds: cached, in flight and evicted tokens."""
    found = m.cache.match(namespace, pack_tokens(ids))
    return found.cached, found.in_flight, found.evicted


def reason(request: Running) -> HitEnd:
    assert request.ledger.hit_end is not None
    return request.ledger.hit_end


def run_ids(start: int, count: int) -> list[int]:
    return list(range(start, start + count))
