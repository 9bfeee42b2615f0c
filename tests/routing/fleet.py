"""A small fleet for tests: a router that replicas have joined, and prompts by name."""

from dataclasses import replace

import numpy as np

from foreword.cache import ModelFingerprint
from foreword.routing import BlockHashes, News, Placement, ReplicaFacts, RoutedRequest, Router, RouterConfig, Stored

MODEL = ModelFingerprint("weights", block_size=16)
FACTS = ReplicaFacts(MODEL, prefill_rate=1000.0, concurrency=8, max_tokens=100_000)


def prompt(name: str, blocks: int = 100) -> BlockHashes:
    """The blocks of a prompt: those of one name begin alike, those of two share nothing."""
    return np.random.default_rng(list(name.encode())).integers(1, 2**63, blocks).astype(np.uint64)


class TestFleet:
    """A router with replicas ``a``, ``b``, … and the time."""

    __test__ = False

    def __init__(self, replicas: int = 4, config: RouterConfig | None = None, facts: ReplicaFacts = FACTS):
        self.told: list[News] = []  # for other routers
        self.router = Router(config, tell=self.told.append)
        self.names = "abcdefghijklmnopqrstuvwxyz"[:replicas]
        self.now = 0.0
        self.sent = 0
        for name in self.names:
            self.router.join(name, facts)

    def send(self, hashes: BlockHashes, avoid: str = "") -> Placement:
        """Place a request with this prompt and one token more."""
        self.sent += 1
        request = RoutedRequest(f"request-{self.sent}", hashes, 16 * len(hashes) + 1, frozenset(avoid))
        return self.router.select(request, self.now)

    def answer(self, placement: Placement, cached: int | None = None) -> None:
        """Its first token comes and its last."""
        found = placement.cached if cached is None else cached
        self.router.started(placement.reservation.request_id, found, self.now)
        self.router.finished(placement.reservation.request_id, self.now)

    def has(self, replica: str, hashes: BlockHashes) -> None:
        """A replica has a prompt, by a snapshot of it alone."""
        sequence = self.router.stats(self.now).replicas[replica].events.batches - 1
        self.router.snapshot(replica, sequence, [Stored(hashes)])

    def queue(self, replica: str, seconds: float) -> None:
        """So much work is placed at a replica."""
        blocks = int(seconds * FACTS.prefill_rate / 16)
        others = "".join(name for name in self.names if name != replica)
        self.send(prompt(f"work {self.sent}", blocks), avoid=others)


def other(**fields: object) -> ReplicaFacts:
    """Facts of a replica whose model differs in some fields."""
    return replace(FACTS, identity=replace(MODEL, **fields))  # type: ignore[arg-type]
