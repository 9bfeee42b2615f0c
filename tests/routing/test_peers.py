"""Several routers of one fleet, which hear of each other by a bus: at once, late, never, and after one has died."""

from collections import deque

import numpy as np
import numpy.typing as npt

from foreword.routing import News, RoutedRequest, RouterConfig
from routing.fleet import TestFleet, prompt


class Bus:
    """Routers by name. What they tell lies in a queue until somebody delivers it."""

    def __init__(self, *names: str):
        self.fleets = {name: TestFleet() for name in names}
        self._under_way: deque[tuple[str, News]] = deque()

    def deliver(self) -> None:
        """Let every router hear what the others have told."""
        for name, fleet in self.fleets.items():
            self._under_way += [(name, news) for news in fleet.told]
            fleet.told.clear()
        while self._under_way:
            teller, news = self._under_way.popleft()
            for name, fleet in self.fleets.items():
                if name != teller:
                    fleet.router.heard(teller, news, fleet.now)


def ask(fleet: TestFleet, name: str, blocks: int = 100) -> str:
    """A request of this name with a prompt of this name comes to a router: the replica that it goes to."""
    return fleet.router.select(RoutedRequest(name, prompt(name, blocks), 16 * blocks + 1), fleet.now).replica


def loads(fleet: TestFleet) -> npt.NDArray[np.float64]:
    """Of each replica, as a router sees it: the seconds of work and the requests that wait, and those that run."""
    stats = fleet.router.stats(fleet.now).replicas.values()
    return np.array([(each.queue_seconds, each.waiting, each.running) for each in stats])


def busy(bus: Bus, hear: bool = True) -> None:
    """Sixty cold prompts come to the routers in turn; some begin to be answered, some of those end."""
    fleets = list(bus.fleets.values())
    for number in range(60):
        fleet = fleets[number % len(fleets)]
        ask(fleet, f"cold {number}", 100 + number)
        if number % 3 == 0:
            fleet.router.started(f"cold {number}", 0, fleet.now)
        if number % 6 == 0:
            fleet.router.finished(f"cold {number}", fleet.now)
        if hear:
            bus.deliver()


def test_all_see_all_of_the_load() -> None:
    """smg#1621: each of N saw 1/N of it."""
    bus = Bus("one", "two", "three")
    busy(bus)
    one, two, three = (loads(fleet) for fleet in bus.fleets.values())
    assert np.allclose(one, two) and np.allclose(one, three)
    seconds, waiting, running = one.T
    assert (waiting.sum(), running.sum()) == (40, 10)
    assert seconds.max() < 1.25 * seconds.mean()


def test_unless_they_do_not_hear_of_each_other() -> None:
    bus = Bus("one", "two")
    busy(bus, hear=False)
    one, two = (loads(fleet) for fleet in bus.fleets.values())
    assert not np.allclose(one, two)
    bus.deliver()
    one, two = (loads(fleet) for fleet in bus.fleets.values())
    assert np.allclose(one, two)


def test_they_decide_alike() -> None:
    bus = Bus("one", "two", "three")
    busy(bus)
    for number in range(50):
        question = f"both {number}"
        assert len({ask(fleet, question) for fleet in bus.fleets.values()}) == 1
        for fleet in bus.fleets.values():
            fleet.router.finished(question, fleet.now)


def test_a_cold_prefix_that_comes_to_two_routers_is_computed_once() -> None:
    bus = Bus("one", "two")
    busy(bus)
    one, two = bus.fleets.values()
    chat = [RoutedRequest(f"chat {number}", prompt("chat"), 1601) for number in range(6)]
    first, second = one.router.select(chat[0], 0.0), two.router.select(chat[1], 0.0)  # none has heard of the other's
    assert first.replica == second.replica
    bus.deliver()
    for number in range(2, 6):
        placed = (one, two)[number % 2].router.select(chat[number], 0.0)
        bus.deliver()
        assert (placed.replica, placed.expected) == (first.replica, 1600)
    assert np.allclose(loads(one), loads(two))


def test_what_another_reserved_counts_until_it_ends() -> None:
    bus = Bus("one", "two")
    one, two = bus.fleets.values()
    placed = ask(one, "chat")
    bus.deliver()
    assert two.router.select(RoutedRequest("x", prompt("chat"), 1601), 0.0).expected == 1600
    one.router.started("chat", 0, 0.0)
    one.router.finished("chat", 0.0)
    bus.deliver()
    two.router.finished("x", 2.0)
    stats = two.router.stats(2.0).replicas[placed]
    assert (stats.waiting, stats.running, stats.queue_seconds) == (0, 0, 0.0)


def test_a_router_that_begins_later_hears_what_is_open() -> None:
    bus = Bus("one", "two")
    busy(bus)
    late = TestFleet()
    for name, fleet in bus.fleets.items():
        for news in fleet.router.stats(fleet.now).news:
            late.router.heard(name, news, late.now)
    assert np.allclose(loads(late), loads(bus.fleets["one"]))


def test_of_a_router_that_died_nothing_counts_any_more() -> None:
    bus = Bus("one", "two")
    busy(bus)
    two = bus.fleets["two"]
    two.router.heard("one", None, two.now)
    assert loads(two)[:, 1].sum() == 20
    two.now = 700.0  # nor does what nobody said was over
    ask(two, "own")
    assert loads(two)[:, 1].sum() == 21


def test_what_is_never_ended_is_forgotten() -> None:
    bus = Bus("one", "two")
    ask(bus.fleets["one"], "chat")
    bus.deliver()
    two = bus.fleets["two"]
    two.now = RouterConfig().forget_seconds + 100
    ask(two, "own")
    assert loads(two)[:, 1].sum() == 1


def test_none_ends_what_another_reserved() -> None:
    bus = Bus("one", "two")
    one, two = bus.fleets.values()
    for fleet in (one, two):
        ask(fleet, "chat")  # a client has given two requests one name
    one.router.finished("chat", 0.0)
    bus.deliver()
    assert loads(two)[:, 1].sum() == 1


def test_a_dead_replica_is_told_of_by_whoever_placed_there() -> None:
    bus = Bus("one", "two")
    one, two = bus.fleets.values()
    placed = ask(one, "chat")
    bus.deliver()
    assert [lost.request_id for lost in one.router.died(placed, 0.0)] == ["chat"]
    bus.deliver()
    assert loads(two)[:, 1].sum() == 0
    assert two.router.died(placed, 0.0) == ()
