"""A sweep: one trace through caches of several sizes and policies, one after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from foreword.cache import CacheConfig
from foreword.cache.eviction import POLICIES
from foreword.replay.cache_loop import replay_cache
from foreword.replay.config import Loop, ReplayConfig
from foreword.replay.costs import Costs
from foreword.replay.engine_loop import EngineReplay
from foreword.replay.optimum import Optimum
from foreword.replay.result import ReplayResult
from foreword.replay.traces import TraceRequest


@dataclass(frozen=True, slots=True)
class Cell:
    """One cache of a sweep, and what the trace came to in it."""

    cache: CacheConfig
    result: ReplayResult

    @property
    def tokens(self) -> int:
        """Tokens that fit into the cache."""
        return self.cache.num_blocks * self.cache.block_size


@dataclass(frozen=True, slots=True)
class OptimumCell:
    """The offline optimum of a size: hits of a cache of so many tokens that knew the requests to come."""

    tokens: int
    hit_tokens: int
    prompt_tokens: int

    @property
    def hit_rate(self) -> float:
        """The share of the prompt tokens that it would have had."""
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


def optima(requests: Iterable[TraceRequest], caches: Iterable[CacheConfig]) -> list[OptimumCell]:
    """The optimum of a trace for every size among some caches, ascending."""
    optimum = Optimum.of(requests)
    sizes = sorted({cache.num_blocks * cache.block_size for cache in caches})
    return [OptimumCell(size, *optimum.hit_tokens(size)) for size in sizes]


def grid(base: CacheConfig, blocks: Sequence[int], policies: Sequence[str]) -> list[CacheConfig]:
    """Every size with every policy, else like ``base``; sizes ascending, each once.

    A policy that learns sees what it evicts come back: it has the ghosts that an engine has by default, at least.
    """
    ghosts = {policy: CacheConfig.ghost_ratio if POLICIES[policy].learns else 0.0 for policy in policies}
    return [
        replace(base, num_blocks=count, eviction_policy=policy, ghost_ratio=max(base.ghost_ratio, ghosts[policy]))
        for policy in dict.fromkeys(policies)
        for count in sorted(set(blocks))
    ]


def replay_with(config: ReplayConfig, costs: Costs, requests: Iterable[TraceRequest], cache: CacheConfig) -> ReplayResult:
    """Replay a trace through the loop that the options name."""
    if config.loop == Loop.CACHE:
        return replay_cache(requests, cache, costs, config.max_num_batched_tokens)
    return EngineReplay(cache, config.scheduler_config(), costs, speed=config.speed).run(requests)


def sweep(
    caches: Iterable[CacheConfig],
    trace: Callable[[CacheConfig], Iterable[TraceRequest]],
    replay: Callable[[Iterable[TraceRequest], CacheConfig], ReplayResult],
) -> Iterator[Cell]:
    """Replay a trace once for every cache. ``trace`` opens it anew each time: it is never in memory as a whole."""
    for cache in caches:
        yield Cell(cache, replay(trace(cache), cache))
