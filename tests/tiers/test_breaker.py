"""A store that fails is left alone, tried out again, and never fails whoever asks."""

import logging
from dataclasses import dataclass, field

import pytest

from foreword.testing import Fault, FaultyStore, MemoryStore
from foreword.tiers import Outcome, StoreUsage
from foreword.tiers.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, GuardedStore
from tiers.made_blocks import found, made_keys, put, read

KEYS = made_keys(3)
NAMES = [key.name for key in KEYS]


@dataclass
class World:
    """A store that fails as ``fault`` says, and a clock that waiting moves."""

    fault: Fault | None = None
    now: float = 0.0
    inner: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.faulty = FaultyStore(self.inner, lambda _: self.fault, wait=self.wait)
        self.store = GuardedStore(self.faulty, "The store", clock=lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def world() -> World:
    made = World()
    put(made.store, KEYS)
    return made


@pytest.mark.parametrize("fault", [Fault.RAISES, Fault.TIMES_OUT])
def test_what_fails_is_answered_and_then_left_alone(world: World, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    world.fault = fault
    with caplog.at_level(logging.WARNING):
        for _ in range(FAILURES):
            assert not world.store.left_alone
            assert world.store.exists_many(NAMES) == [False] * 3
    assert world.store.left_alone
    assert [record.getMessage() for record in caplog.records] == [f"The store is left alone for 1 s: exists_many {fault}."]
    before, calls = world.now, len(world.faulty.calls)
    assert read(world.store, KEYS) == [Outcome.FAILED] * 3
    assert world.store.put_many(KEYS, []) == world.store.delete_many(NAMES) == 0
    assert world.store.usage() == StoreUsage(failures=FAILURES, left_alone=True)
    world.store.flush()
    assert (world.now, len(world.faulty.calls)) == (before, calls), "nobody asks it, nobody waits"
    assert world.store.failures == FAILURES


def test_it_is_tried_out_and_used_again(world: World) -> None:
    world.fault = Fault.RAISES
    for _ in range(FAILURES):
        read(world.store, KEYS)
    world.wait(FIRST_PAUSE)
    world.fault = None
    assert found(world.store, KEYS) == 3
    assert not world.store.left_alone


def test_figures_are_asked_for_beside_and_neither_try_it_out_nor_prove_it(world: World) -> None:
    world.fault = Fault.RAISES
    for _ in range(FAILURES - 1):
        read(world.store, KEYS)
    world.fault = None
    before = world.store.usage()
    assert before.blocks == 3
    assert before.written_bytes > 0
    world.fault = Fault.RAISES
    read(world.store, KEYS)
    assert world.store.left_alone, "that it told its figures did not end the row"
    world.wait(FIRST_PAUSE)
    world.fault = None
    assert world.store.usage() == StoreUsage(written_bytes=before.written_bytes, failures=FAILURES), "counts never fall"
    assert found(world.store, KEYS) == 3, "asked at once after the pause"
    assert world.store.usage().blocks == 3


def test_the_pause_grows_up_to_a_bound(world: World) -> None:
    world.fault = Fault.RAISES
    pauses = []
    for _ in range(FAILURES + 10):
        world.store.exists_many(NAMES)
        begun = world.now
        while world.store.left_alone:
            world.now += 0.5
        pauses.append(world.now - begun)
    waited = [pause for pause in pauses if pause]
    assert waited == sorted(waited)
    assert (waited[0], waited[-1]) == (FIRST_PAUSE, LONGEST_PAUSE)


def test_late_answers_are_right_and_count_as_failures(world: World) -> None:
    world.fault = Fault.LATE
    slow = FaultyStore(world.inner, lambda _: world.fault, seconds=5.1, wait=world.wait)
    store = GuardedStore(slow, "The store", clock=lambda: world.now)
    for _ in range(FAILURES):
        assert found(store, KEYS) == 3
    assert store.left_alone


def test_much_may_take_longer(world: World) -> None:
    world.fault = Fault.LATE
    slow = FaultyStore(world.inner, lambda _: world.fault, seconds=6.0, wait=world.wait)
    store = GuardedStore(slow, "The store", clock=lambda: world.now)
    for _ in range(FAILURES):
        store.get_many(KEYS[:1], [[memoryview(bytearray(21_000_000))]])
    assert not store.left_alone
    assert store.failures == 0


def test_one_failure_among_successes_changes_nothing(world: World) -> None:
    for number in range(4 * FAILURES):
        world.fault = Fault.RAISES if number % FAILURES == 0 else None
        world.store.exists_many(NAMES)
    assert not world.store.left_alone


def test_a_full_disk_stops_writes_alone_until_it_is_left_alone(world: World) -> None:
    world.fault = Fault.FULL
    more = made_keys(2, first_token=900)
    assert put(world.store, more) == 0
    assert found(world.store, KEYS) == 3
    world.fault = None
    assert put(world.store, more) == 2


@pytest.mark.parametrize("fault", [Fault.SHORT_READ, Fault.FLIPPED])
def test_harmed_blocks_are_told_and_are_harmed(world: World, fault: Fault) -> None:
    world.fault = fault
    assert read(world.store, KEYS) == [Outcome.CORRUPT] * 3
    world.fault = None
    assert found(world.store, KEYS) == 3


def test_an_error_that_nobody_foresaw_is_a_failure_too(world: World) -> None:
    def unforeseen(_: str) -> None:
        raise ZeroDivisionError

    store = GuardedStore(FaultyStore(world.inner, unforeseen), "The store")
    assert read(store, KEYS) == [Outcome.FAILED] * 3
    assert store.failures == 1


def test_a_store_that_cannot_be_closed_is_no_error(world: World) -> None:
    world.fault = Fault.RAISES
    world.store.close()
