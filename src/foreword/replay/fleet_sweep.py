"""A sweep over fleets: one trace through every number of replicas with every router, beside one cache without bounds."""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from foreword.cache import CacheConfig
from foreword.cache.block_hashes import BlockHasher
from foreword.replay.cache_loop import namespace_of, replay_cache
from foreword.replay.config import ReplayConfig
from foreword.replay.costs import Costs
from foreword.replay.fleet import Fleet, FleetResult
from foreword.replay.fleet_config import POISSON, TRACE, FleetConfig
from foreword.replay.fleet_routers import ROUTERS
from foreword.replay.traces import TraceRequest
from foreword.routing.index import PrefixIndex
from foreword.sched import SchedulerConfig

OpenTrace = Callable[[str], Iterable[TraceRequest]]
"""Opens the trace anew; it is told for what."""
BETWEEN_CROWDS = 10.0
"""Seconds of the trace by which each crowd that plays it begins after the one before."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What a trace asks of whoever answers it.

    hit_rate, computed_tokens
        Of one cache without bounds, requests one after another: the least that must be computed.
    seconds
        From the first arrival to the last.
    longest
        Tokens of the longest prompt: no replica's work can be less than that of the prompts it gets.
    """

    requests: int
    hit_rate: float
    computed_tokens: int
    seconds: float
    longest: int

    def by(self, crowds: int) -> "Offered":
        """The same of so many crowds."""
        seconds = self.seconds + (crowds - 1) * BETWEEN_CROWDS
        return replace(self, requests=crowds * self.requests, computed_tokens=crowds * self.computed_tokens, seconds=seconds)


@dataclass(frozen=True, slots=True)
class FleetCell:
    """One fleet of a sweep: what came of the trace, and how many of its seconds passed in one of the fleet's."""

    router: str
    replicas: int
    speed: float
    result: FleetResult


def offered(open_trace: OpenTrace, block_size: int, scale: int) -> Offered:
    """What a trace asks, in blocks of ``block_size`` simulated tokens that stand for ``scale`` each."""
    hasher, everything = BlockHasher(block_size), PrefixIndex()
    requests = longest = 0
    seconds = 0.0
    for request in open_trace("how many blocks are different"):
        prompt = request.prompt(scale)
        everything.store(0, hasher.prompt(namespace_of(request).key, prompt))
        requests, seconds, longest = requests + 1, request.arrival, max(longest, request.prompt_tokens)
    room = everything.blocks() + 2 * requests + longest // (block_size * scale) + 1  # ends of prompts: no whole blocks
    unbounded = CacheConfig(num_blocks=room, block_size=block_size, ghost_ratio=0.0)
    prompts = (request.without_answer() for request in open_trace("one cache without bounds"))
    result = replay_cache(prompts, unbounded, scale=scale)
    computed = round(result.prompt_tokens * (1 - result.hit_rate)) * scale
    return Offered(requests, result.hit_rate, computed, seconds, longest)


def by_crowds(open_trace: OpenTrace, crowds: int) -> OpenTrace:
    """The trace as several crowds play it, who share nothing with each other, in the order of arrivals."""
    return open_trace if crowds == 1 else lambda name: _played(open_trace(name), crowds)


def fleet_sweep(
    open_trace: OpenTrace, config: ReplayConfig, fleets: FleetConfig, costs: Costs, asked: Offered
) -> Iterator[FleetCell]:
    """Replay a trace through every fleet."""
    cache, scheduler = simulated_sizes(config, fleets.scale)
    for replicas in fleets.sizes():
        speed = fleet_speed(config, fleets, costs, asked, replicas)
        for name in fleets.routers():
            requests = open_trace(f"{name}, {replicas} replicas")
            fleet = Fleet(ROUTERS[name](), replicas, cache, scheduler, costs, fleets.scale)
            yield FleetCell(name, replicas, speed, fleet.run(arriving(requests, fleets, asked, speed)))


def _played(requests: Iterable[TraceRequest], crowds: int) -> Iterator[TraceRequest]:
    coming: list[tuple[float, int, TraceRequest]] = []  # a heap
    for request in requests:
        while coming and coming[0][0] <= request.arrival:
            yield heapq.heappop(coming)[2]
        for crowd in range(crowds):
            at, number = request.arrival + crowd * BETWEEN_CROWDS, request.number * crowds + crowd
            played = replace(request, arrival=at, number=number, scope=f"{request.scope}, crowd {crowd}")
            heapq.heappush(coming, (at, number, played))
    while coming:
        yield heapq.heappop(coming)[2]


def simulated_sizes(config: ReplayConfig, scale: int) -> tuple[CacheConfig, SchedulerConfig]:
    """A replica's cache and scheduler in simulated tokens. A step has one for every request that can run, at least."""
    block = max(1, config.block_size // scale)
    tokens = config.blocks[0] * config.block_size // scale
    cache = CacheConfig(
        num_blocks=max(1, tokens // block), block_size=block, ghost_ratio=0.0, eviction_policy=config.policies()[0]
    )
    step = max(config.max_num_seqs, config.max_num_batched_tokens // scale)
    return cache, replace(config.scheduler_config(), max_num_batched_tokens=step)


def fleet_speed(config: ReplayConfig, fleets: FleetConfig, costs: Costs, asked: Offered, replicas: int) -> float:
    """How many of the trace's seconds pass in one of a fleet's."""
    kind, load = fleets.load()
    if kind == TRACE or not asked.seconds:
        return config.speed
    seconds = asked.computed_tokens * costs.model.per_token  # of one replica
    return load * replicas * asked.seconds / seconds if seconds else 1.0


def arriving(requests: Iterable[TraceRequest], fleets: FleetConfig, asked: Offered, speed: float) -> Iterator[TraceRequest]:
    """The requests at the times at which they come to the fleet."""
    draw, now = random.Random(0), 0.0
    for request in requests:
        yield replace(request, arrival=now if fleets.load()[0] == POISSON else request.arrival / speed)
        now += draw.expovariate(asked.requests * speed / asked.seconds) if asked.seconds else 0.0
