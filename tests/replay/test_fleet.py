"""A fleet in virtual time: routers beside each other, links that lose events, and what it must come to."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from xml.etree import ElementTree

import pytest

from foreword.cache import CacheConfig
from foreword.cache.kv_events import KVEvent
from foreword.errors import ConfigError
from foreword.replay import SPACE, ReplayConfig, costs_from_rates, read_trace
from foreword.replay.fleet import Fleet, FleetResult, shared_out
from foreword.replay.fleet_config import FleetConfig
from foreword.replay.fleet_report import FLEET_COLUMNS, fleet_json, fleet_row, fleet_svg
from foreword.replay.fleet_routers import ROUTERS, FleetRouter, PrefixRouting, Snapshots
from foreword.replay.fleet_sweep import by_crowds, fleet_sweep, offered
from foreword.replay.traces import TraceRequest
from foreword.routing import News, ReplicaFacts, RoutedRequest, Router, replica_event
from foreword.sched import SchedulerConfig
from foreword.testing import trace_stream

COSTS = costs_from_rates(20_000, 10)


def requests(_: str = "") -> list[TraceRequest]:
    """A made-up trace of conversations."""
    return list(read_trace(trace_stream(150)).requests)


def fleet(router: FleetRouter, replicas: int = 4, blocks: int = 4000) -> Fleet:
    """A small one, of blocks of 64 tokens of the trace."""
    cache = CacheConfig(num_blocks=blocks, block_size=8, ghost_ratio=0.0)
    return Fleet(router, replicas, cache, SchedulerConfig(max_num_batched_tokens=128), COSTS, scale=8)


def result(router: FleetRouter, replicas: int = 4) -> FleetResult:
    """What the trace comes to in a small fleet."""
    return fleet(router, replicas).run(requests())


def test_the_router_hits_where_plain_rules_miss_and_keeps_the_balance() -> None:
    asked = offered(requests, block_size=8, scale=8)
    prefix, turns = result(ROUTERS["prefix"]()), result(ROUTERS["round-robin"]())
    assert prefix.requests == turns.requests == len(requests())
    assert prefix.prompt_tokens == turns.prompt_tokens
    assert prefix.hit_rate >= 0.95 * asked.hit_rate > turns.hit_rate
    assert prefix.imbalance <= 1.3  # with 37 prompts a replica, some ten times as long as others
    assert sum(prefix.work) == prefix.prompt_tokens - prefix.cached_tokens


def test_one_replica_is_the_same_whoever_routes() -> None:
    assert len({result(make(), replicas=1) for make in ROUTERS.values()}) == 1


def test_a_simulation_is_the_same_every_time() -> None:
    assert result(ROUTERS["prefix"]()) == result(ROUTERS["prefix"]())


class Link(PrefixRouting):
    """A router whose events come by a link: what it passes on of a batch, a number of times."""

    def __init__(self, times: Callable[[int], int]):
        super().__init__(Router())
        self._times = times
        self._batches = 0

    def apply(self, replica: str, source: Snapshots, sequence: int, events: Sequence[KVEvent]) -> None:
        """A batch, as often as it comes."""
        self._batches += 1
        for _ in range(self._times(self._batches)):
            super().apply(replica, source, sequence, events)


@pytest.mark.parametrize(
    "times", [lambda n: 0 if n % 7 == 0 else 1, lambda _: 2, lambda n: 0 if n < 100 else 1], ids=["lost", "doubled", "late"]
)
def test_lost_doubled_and_late_events_end_in_the_index_that_replicas_have(times: Callable[[int], int]) -> None:
    link = Link(times)
    small = fleet(link, blocks=1500)  # some are evicted
    found = small.run(requests())
    for name, replica in small.replicas.items():
        sequence, everything = replica.snapshot()
        link.apply(name, replica, sequence + 1, [])  # whatever was lost last is seen as a gap now
        cached = Router()
        cached.join(name, ReplicaFacts(SPACE.model, 1.0, 1, 1))
        cached.snapshot(name, sequence, [replica_event(event) for event in everything])
        assert link.router.stats(0.0).replicas[name].blocks == cached.stats(0.0).replicas[name].blocks
    assert found.hit_rate > result(ROUTERS["round-robin"]()).hit_rate


class Peers:
    """Several routers, of which each request asks the next; they hear of each other at once."""

    def __init__(self, count: int):
        self.routers = {str(number): Router(tell=partial(self._tell, str(number))) for number in range(count)}
        self._turns = cycle(self.routers)
        self._of: dict[str, str] = {}
        self._now = 0.0

    def join(self, replica: str, facts: ReplicaFacts) -> None:
        """A replica takes requests."""
        for router in self.routers.values():
            router.join(replica, facts)

    def place(self, request: RoutedRequest, now: float) -> str:
        """The replica that a request goes to."""
        own = self._of[request.request_id] = next(self._turns)
        self._now = now
        return self.routers[own].select(request, now).replica

    def apply(self, replica: str, source: Snapshots, sequence: int, events: Sequence[KVEvent]) -> None:
        """A batch of a replica's events."""
        del source
        for router in self.routers.values():
            router.apply(replica, sequence, [replica_event(event) for event in events])

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """A request's first token came."""
        self._now = now
        self.routers[self._of[request_id]].started(request_id, cached_tokens, now)

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended."""
        self._now = now
        self.routers[self._of[request_id]].finished(request_id, now)

    def _tell(self, own: str, news: News) -> None:
        for name, router in self.routers.items():
            if name != own:
                router.heard(own, news, self._now)


def test_four_routers_that_hear_of_each_other_do_as_well_as_one() -> None:
    one, four = result(ROUTERS["prefix"]()), result(Peers(4))
    assert four.hit_rate == pytest.approx(one.hit_rate, rel=0.01)
    assert four.ttft[2] is not None and one.ttft[2] is not None
    assert four.ttft[2] <= 1.05 * one.ttft[2]


def test_a_sweep_has_a_row_a_fleet_a_file_and_a_picture() -> None:
    config = ReplayConfig(blocks=(4000,), block_size=64, prefill_rate=20_000.0, decode_ms=10.0, max_num_batched_tokens=1024)
    fleets = FleetConfig(replicas="2,4", router="prefix,random", arrivals="poisson:0.7", scale=8)
    asked = offered(requests, block_size=8, scale=8)
    cells = list(fleet_sweep(requests, config, fleets, config.costs(), asked))
    assert [(cell.replicas, cell.router) for cell in cells] == [(2, "prefix"), (2, "random"), (4, "prefix"), (4, "random")]
    assert cells[2].speed == pytest.approx(2 * cells[0].speed)
    assert all(len(fleet_row(cell, asked)) == len(FLEET_COLUMNS) for cell in cells)
    assert [row["imbalance"] for row in fleet_json(cells, asked)["results"]] == [cell.result.imbalance for cell in cells]
    picture = ElementTree.fromstring(fleet_svg(cells, asked, "a < b"))
    assert len(picture.findall("{*}circle")) == 2 + 2 * 4


def test_work_shared_out_is_as_even_as_its_largest_part_lets_it_be() -> None:
    assert shared_out([3, 3, 2, 2, 2], 2) == pytest.approx(7 / 6)
    assert shared_out([1, 1, 1, 1, 8], 2) == pytest.approx(10 / 6)
    assert shared_out([8, 1, 1, 1, 1], 2) == pytest.approx(8 / 6)
    assert shared_out([], 3) == 1.0
    found = result(ROUTERS["prefix"]())
    assert 1.0 <= found.shared_out <= found.in_turn <= 1.3 and found.shared_out <= found.imbalance


def test_crowds_ask_as_much_each_and_share_nothing() -> None:
    one = offered(requests, block_size=8, scale=8)
    played = list(by_crowds(requests, 3)(""))
    assert [each.arrival for each in played] == sorted(each.arrival for each in played)
    assert len({each.number for each in played}) == len(played) == 3 * one.requests
    three = offered(by_crowds(requests, 3), block_size=8, scale=8)
    assert three.hit_rate == pytest.approx(one.hit_rate)
    assert (one.by(3).requests, one.by(3).seconds) == (three.requests, three.seconds)
    assert one.by(3).computed_tokens == pytest.approx(three.computed_tokens, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"replicas": "8,many"}, "replicas is '8,many'"),
        ({"replicas": "0"}, "each must be 1 to 4096"),
        ({"router": "prefix,best"}, "router is 'best'; known: prefix, round-robin, least-loaded, random"),
        ({"arrivals": "load"}, "arrivals is 'load'"),
        ({"arrivals": "load:0"}, "arrivals is 'load:0'"),
        ({"arrivals": "trace:2"}, "arrivals is 'trace:2'"),
        ({"scale": 0}, "scale is 0"),
        ({"crowds": 0}, "crowds is 0"),
    ],
)
def test_options_that_say_nothing_are_refused(fields: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        FleetConfig(**fields)  # type: ignore[arg-type]
