"""Options of a replay."""

from dataclasses import dataclass
from enum import StrEnum

from foreword.cache import CacheConfig
from foreword.cache.eviction import POLICIES
from foreword.config import require, require_types
from foreword.replay.costs import MEASURED, Costs, costs_from_rates
from foreword.sched import SchedulerConfig

ALL = "all"
"""In place of a policy's name: every policy."""


class Loop(StrEnum):
    """What a trace is replayed through."""

    ENGINE = "engine"
    CACHE = "cache"


@dataclass(frozen=True)
class ReplayConfig:
    """How a trace is replayed, and through which caches: one for each number of blocks and each policy."""

    blocks: tuple[int, ...] = (65_536,)
    """Blocks of the cache; given several times, each size is tried."""
    block_size: int = CacheConfig.block_size
    """Tokens a block."""
    policy: tuple[str, ...] = (CacheConfig.eviction_policy,)
    """Eviction policy, `lru`, `protected-lru`, `learned`, or `all`; given several times, each is tried."""
    optimum: bool = False
    """Beside them, what a cache would have had that knew the requests to come; the trace is then kept in memory."""
    told: bool = False
    """Let every request say whether its conversation goes on, as the trace's own future has it."""
    loop: str = Loop.ENGINE.value
    """`engine`: requests come at their times and run together. `cache`: one after another through the cache alone, many
    times faster; TTFT is then that of an idle machine."""
    speed: float = 1.0
    """Seconds of the trace in one of the engine's: 0.1 lets requests come ten times more slowly."""
    max_num_seqs: int = SchedulerConfig.max_num_seqs
    """Requests that run at a time."""
    max_num_batched_tokens: int = SchedulerConfig.max_num_batched_tokens
    """Tokens computed in one step."""
    max_wait_seconds: float = SchedulerConfig.max_wait_seconds
    """How long a request may be overtaken by others with a longer cached prefix."""
    prefill_rate: float | None = None
    """Prompt tokens that the machine computes in a second; goes with decode_ms."""
    decode_ms: float | None = None
    """Milliseconds of a step that generates a token for everyone; goes with prefill_rate."""
    trace_block: int | None = None
    """Tokens a block of the trace's hash_ids; None: what the first requests tell."""

    def __post_init__(self) -> None:
        require_types(self)
        known = ", ".join(loop.value for loop in Loop)
        require(self.loop in list(Loop), f"loop is {self.loop!r}; known: {known}.")
        require(0 < self.speed < float("inf"), f"speed is {self.speed:g}; it must be more than 0.")
        require(bool(self.blocks and self.policy), "blocks and policy need at least one value each.")
        require(
            (self.prefill_rate is None) == (self.decode_ms is None),
            "prefill_rate and decode_ms are given together: a cost model needs both.",
        )
        require(
            self.trace_block is None or self.trace_block >= 1, f"trace_block is {self.trace_block}; it must be at least 1."
        )
        self.scheduler_config()
        for policy in self.policies():
            for blocks in self.blocks:
                CacheConfig(num_blocks=blocks, block_size=self.block_size, eviction_policy=policy)

    def policies(self) -> tuple[str, ...]:
        """The names of the policies to try."""
        return tuple(name for given in self.policy for name in (POLICIES if given == ALL else (given,)))

    def scheduler_config(self) -> SchedulerConfig:
        """The options of the scheduler."""
        return SchedulerConfig(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_wait_seconds=self.max_wait_seconds,
        )

    def costs(self) -> Costs:
        """What steps take: by the rates that were given, or as once measured."""
        if self.prefill_rate is None or self.decode_ms is None:
            return MEASURED
        return costs_from_rates(self.prefill_rate, self.decode_ms)
