"""A stand-in for the engine: KV memory whose 'KV' of a token is a hash of all tokens up to it.

Reading back a wrong hash is reading the KV of another prefix: whatever the cache does wrong shows up here.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np

from foreword.cache import (
    CacheConfig,
    ModelFingerprint,
    Namespace,
    PrefixCache,
    RequestLedger,
    Reservation,
    pack_tokens,
)

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


@dataclass
class Machine:
    """Runs requests against a cache, checking after every step."""

    config: CacheConfig
    now: float = 0.0
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events: list[object] = []
        self.cache = PrefixCache(self.config, events=self.events.append)
        self.memory = np.zeros((self.config.num_blocks, self.config.block_size), np.int64)

    def start(self, ids: list[int], namespace: Namespace = SPACE, use_cache: bool = True) -> Running | None:
        self.now += 1
        ledger = RequestLedger(len(ids))
        reservation = self.cache.reserve(namespace, pack_tokens(ids), ledger, self.now, use_cache)
        if reservation is None:
            return None
        request = Running(namespace, list(ids), len(ids), ledger, reservation, prefix_hashes(namespace, ids))
        self.running.append(request)
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
        for _, chunk in planned:
            if chunk.copy:
                self.memory[chunk.copy.target, : chunk.copy.tokens] = self.memory[
                    chunk.copy.source, : chunk.copy.tokens
                ]
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
        size = self.config.block_size
        table = request.reservation.table
        got = [int(self.memory[table[at // size], at % size]) for at in range(end)]
        assert got == request.hashes[:end], next((at, end, request.reservation.shared_end, request.reservation.copy) for at in range(end) if got[at] != request.hashes[at])

    def finish(self, request: Running) -> None:
        self.now += 1
        self.running.remove(request)
        self.cache.release(request.reservation, self.now, pack_tokens(request.ids[request.prompt :]))

    def run(self, ids: list[int], namespace: Namespace = SPACE) -> RequestLedger:
        """One request from beginning to end."""
        request = self.start(ids, namespace)
        assert request is not None
        while request.reservation.computed < len(ids):
            assert self.step()
        self.finish(request)
        self.cache.check_integrity()
        return request.ledger
