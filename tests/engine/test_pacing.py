"""Turns of who stores beside others, on a clock of the test's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from foreword.engine.pacing import CALM, FULL_SHARE, IDLE_SECONDS, SHARE, Pace, share

TURN = 0.004


class Day:
    """A pace on a clock that goes on only while somebody works or waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None
        self.fullness = 0.0
        self._spent = 0.0
        self.pace = Pace(lambda: self.now, lambda: self._spent, self.wait)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)
        self.on_wait()

    def turn(self, on_disk: float = 0.0) -> float:
        """When a turn begins; it takes some of the processor's time, and waits for a disk."""
        with self.pace.turn(lambda: self.fullness):
            begun = self.now
            self.now += TURN + on_disk
            self._spent += TURN
        return begun

    @contextmanager
    def step(self) -> Iterator[None]:
        with self.pace.giving_way():
            yield


@pytest.fixture
def day() -> Day:
    return Day()


def test_beside_a_step_turns_take_their_share_of_the_time(day: Day) -> None:
    with day.step():
        begun = [day.turn() for _ in range(101)]
    assert (begun[-1] - begun[0]) * SHARE == pytest.approx(100 * TURN, rel=2 * SHARE)


def test_waiting_for_a_disk_is_not_counted(day: Day) -> None:
    with day.step():
        first, second = day.turn(on_disk=1.0), day.turn()
    assert second - first == pytest.approx(1.0 + TURN + TURN / SHARE)


def test_between_two_steps_nobody_is_idle(day: Day) -> None:
    with day.step():
        first = day.turn()
    day.now += IDLE_SECONDS / 2
    with day.step():
        second = day.turn()
    assert second - first >= TURN / SHARE


def test_who_waits_for_a_turn_gets_it_soon_after_the_last_step(day: Day) -> None:
    with day.step():
        day.turn()
    ended = day.now
    assert day.turn() - ended <= 2 * IDLE_SECONDS


def test_without_steps_turns_follow_at_once(day: Day) -> None:
    begun = [day.turn() for _ in range(3)]
    assert begun[2] - begun[0] == pytest.approx(2 * TURN)
    assert day.waits == []


def test_at_the_end_nobody_is_given_way_to(day: Day) -> None:
    with day.step():
        day.turn()
        day.on_wait = day.pace.hurry
        day.turn()
        assert len(day.waits) == 1
        day.turn()
        assert len(day.waits) == 1


def test_of_two_that_work_both_are_given_way_to(day: Day) -> None:
    with day.step():
        with day.step():
            first = day.turn()
        day.now += 2 * IDLE_SECONDS
        assert day.turn() - first >= TURN / SHARE


@pytest.mark.parametrize(("fullness", "expected"), [(0.0, SHARE), (CALM, SHARE), (1.0, FULL_SHARE), (2.5, FULL_SHARE)])
def test_the_fuller_the_queue_the_larger_the_share(fullness: float, expected: float) -> None:
    assert share(fullness) == expected
    assert SHARE <= share(fullness) <= share(fullness + 0.1) <= FULL_SHARE


def test_turns_keep_up_with_what_is_given_as_soon_as_half_the_queue_is_full(day: Day) -> None:
    """What comes in takes a tenth of a core to store: eight times what turns take while there is room."""
    most, given, stored = 100, 0, 0
    with day.step():
        begun = day.now
        while stored < 20 * most:
            given = int((day.now - begun) * 0.1 / TURN)
            day.fullness = (given - stored) / most
            day.turn()
            stored += 1
    assert given - stored < 0.75 * most


def test_who_waits_for_a_turn_gets_it_sooner_when_the_queue_fills(day: Day) -> None:
    def fill() -> None:
        day.fullness = 1.0

    with day.step():
        first = day.turn()
        day.on_wait = fill
        second = day.turn()
    assert second - first < 2 * IDLE_SECONDS < TURN / SHARE
