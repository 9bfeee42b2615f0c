"""Random lives of a cache against a naive model.

CASES random runs of up to 60 operations (start, step, failing step, generate, finish or abort, reset) on caches of
random shape; after each operation every invariant and the observer's picture are checked, and every step reads back the
KV of every token it uses. On caches without eviction the hits are compared with a model that keeps plain lists.
"""

import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cache.harness import Machine
from foreword.cache import (
    CacheConfig,
    ConversationState,
    Mark,
    Match,
    MissReason,
    Namespace,
    PrivatePart,
    pack_tokens,
    unpack_tokens,
)
from foreword.testing.hash_kv import MODEL, SPACE, Running

CASES = 2400
BATCHES = 24
Prompt = tuple[list[int], Namespace, PrivatePart | None]
SPACES = [SPACE, Namespace(MODEL, tenant="b"), Namespace(MODEL, cache_salt="b")]


def common(a: Sequence[object], b: Sequence[object]) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def owned(ids: Sequence[int], private: PrivatePart | None) -> list[tuple[int, PrivatePart | None]]:
    """Each token, and whose it is: nobody's, or somebody's from a place on."""
    start = len(ids) if private is None else private.start
    return [(token, private if at >= start else None) for at, token in enumerate(ids)]


class Life:
    """One random run; everything follows from the seed."""

    def __init__(self, seed: int):
        self.rng = rng = random.Random(seed)
        self.size = rng.choice([1, 2, 4, 16])
        self.machine = Machine(
            CacheConfig(
                num_blocks=rng.choice([6, 12, 40, 400]),
                block_size=self.size,
                eviction_policy=rng.choice(["lru", "protected-lru", "learned"]),
                ghost_ratio=rng.choice([0, 0.5, 4]),
                mark_budget=rng.choice([0, 0.3, 0.5, 1]),
                stores=rng.random() < 0.5,
            )
        )
        self.history: list[list[int]] = []
        self.next: Prompt | None = None
        self.matches: list[Match] = []

    def prompt(self) -> list[int]:
        rng = self.rng
        ids: list[int] = []
        if self.history and rng.random() < 0.8:
            base = rng.choice(self.history)
            ids = base[: rng.randrange(len(base) + 1)]
        return ids + rng.choices(range(3), k=rng.randrange(0 if ids else 1, 3 * self.size + 3))

    def look(self) -> Prompt:
        """Look a prompt up: right before it starts, or some operations before."""
        rng = self.rng
        ids, space = self.prompt(), rng.choice(SPACES) if rng.random() < 0.3 else SPACE
        private = None
        if rng.random() < 0.5:
            private = PrivatePart(rng.choice([0, self.size, rng.randrange(len(ids) + 2)]), rng.choice("xy"))
        self.matches = [*self.matches[-1:], self.machine.cache.match(space, pack_tokens(ids), private)]
        return ids, space, private

    def check(self) -> None:
        """Every invariant; and a match of before that calls itself current is what a new look-up finds."""
        self.machine.check()
        for match in self.matches:
            query = match.query
            again = self.machine.cache.match(query.namespace, query.tokens, query.private)
            if match.lookup is not None and match.version == again.version:
                assert again.lookup == match.lookup

    def marks(self, length: int) -> list[Mark]:
        """None for most prompts; else up to three, with times that run out while the run goes on."""
        rng = self.rng
        if rng.random() < 0.6:
            return []
        places = [rng.randrange(1, length + 1) for _ in range(rng.randrange(1, 4))]
        return [Mark(place, rng.choice([3, 10, 1000]), rng.randrange(place + 1)) for place in places]

    def operate(self) -> None:
        rng, m = self.rng, self.machine
        if rng.random() < 0.2:
            self.next = self.look()
        if m.config.stores and rng.random() < 0.1:
            m.cache.transfers.store_all(m.now)
            m.end_transfers()
            if rng.random() < 0.5:
                m.cache.reset()
            self.check()
        if m.tier.under_way and rng.random() < 0.3:
            transfer = rng.choice(m.tier.under_way)
            m.end_transfer(transfer, rng.choice([0, rng.randrange(len(transfer.blocks) + 1), 10**6]))
            if rng.random() < 0.1:
                m.tier.lose(0.5, rng)
            self.check()
        choice = rng.random()
        if choice < 0.35:
            (ids, space, private), self.next = self.next or self.look(), None
            if m.start(ids, space, rng.random() < 0.95, self.marks(len(ids)), private):
                self.history.append(ids)
        elif choice < 0.7:
            m.step(rng.choice([1, 3, 7, 50, 10**6]), fail=rng.random() < 0.1)
        elif choice < 0.85:
            ready = [request for request in m.running if request.reservation.computed == len(request.ids)]
            if ready:
                request = rng.choice(ready)
                m.generate(request, rng.randrange(3))
                self.history.append(list(request.ids))
        elif choice < 0.98:
            if m.running:
                request = rng.choice(m.running)
                if rng.random() < 0.2:
                    m.discard(request)
                else:
                    m.finish(request, rng.choice((None, *ConversationState)))
        else:
            m.cache.reset()
        self.check()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_lives(batch: int) -> None:
    for seed in range(batch, CASES, BATCHES):
        try:
            life = Life(seed)
            for _ in range(life.rng.randrange(60)):
                life.operate()
            life.machine.drain()
            life.machine.cache.transfers.store_all(life.machine.now)
            life.machine.end_transfers()
            life.machine.check()
            assert life.machine.cache.usage().held_blocks == 0
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


class Model(RuleBasedStateMachine):
    """A cache that never has to evict, and what it must know: every token computed before or in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(CacheConfig(num_blocks=2000, block_size=4))
        self.known: list[list[tuple[int, PrivatePart | None]]] = []

    def sequences(self) -> list[list[tuple[int, PrivatePart | None]]]:
        return self.known + [owned(request.ids[: request.prompt], request.private) for request in self.machine.running]

    @rule(
        ids=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        owner=st.sampled_from(["", "", "x", "y"]),
        data=st.data(),
    )
    def start(self, ids: list[int], owner: str, data: st.DataObject) -> None:
        private = None
        if len(self.known) > 0 and data.draw(st.booleans()):
            base = data.draw(st.sampled_from(self.known))
            ids = [token for token, _ in base[: data.draw(st.integers(0, len(base)))]] + ids
        if owner:
            private = PrivatePart(data.draw(st.integers(0, len(ids))), owner)
        mine = owned(ids, private)
        expected = min(len(ids) - 1, max((common(mine, known) for known in self.sequences()), default=0))
        match = self.machine.cache.match(SPACE, pack_tokens(ids), private)
        assert match.cached + match.in_flight == expected
        request = self.machine.must_start(ids, private=private)
        end = request.ledger.hit_end
        assert end is not None
        assert (end.position, end.reason is MissReason.COMPLETE) == (expected, expected == len(ids) - 1)
        assert end.reason in (MissReason.COMPLETE, MissReason.DIVERGED, MissReason.FIRST_SEEN)
        if end.reason is MissReason.DIVERGED:
            shown = owned(ids[:expected] + unpack_tokens(end.nearest), private)
            assert any(known[: len(shown)] == shown for known in self.sequences()[:-1]), "what it may not see"

    @precondition(lambda self: self.machine.running)
    @rule(budget=st.sampled_from([1, 3, 8, 1000]), fail=st.booleans())
    def step(self, budget: int, fail: bool) -> None:
        self.machine.step(budget, fail)

    @precondition(lambda self: self.machine.running)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 1), max_size=10))
    def finish(self, data: st.DataObject, tokens: list[int]) -> None:
        """All that runs is completed first, so that no other request is just computing what this one has."""
        self.machine.complete()
        request: Running = data.draw(st.sampled_from(self.machine.running))
        for token in tokens:
            assert self.machine.generate(request, token)
            self.machine.complete()
        self.machine.finish(request)
        self.known.append(owned(request.ids, request.private))

    @invariant()
    def books(self) -> None:
        self.machine.check()

    def teardown(self) -> None:
        self.machine.drain()
        assert self.machine.cache.usage().held_blocks == 0


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=150, stateful_step_count=20, suppress_health_check=list(HealthCheck), derandomize=True
)
