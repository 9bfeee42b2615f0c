"""A fleet: many simulated replicas in one virtual time, and a router that sends each request of a trace to one of them.

A replica is the real scheduler over the real cache; what it computes takes the seconds of the cost model. The router hears
what replicas of the field tell: batches of events, first tokens, ends.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreword.cache import CacheConfig, PrefixCache
from foreword.cache.block_hashes import BlockHasher
from foreword.cache.kv_events import KVEvent, KVEventTranslator
from foreword.errors import PromptError
from foreword.events import CacheEvent
from foreword.replay.cache_loop import SPACE, namespace_of
from foreword.replay.costs import Costs
from foreword.replay.fleet_routers import FleetRouter
from foreword.replay.result import Distribution
from foreword.replay.step_loop import end_step
from foreword.replay.traces import TraceRequest
from foreword.routing import ReplicaFacts, RoutedRequest
from foreword.sched import Request, Scheduler, SchedulerConfig, StepPlan


@dataclass(frozen=True, slots=True)
class FleetResult:
    """What a trace came to in a fleet. Tokens are the trace's.

    cached_tokens
        Prompt tokens that were not computed for their request, whatever brought them.
    work
        Prompt tokens that each replica computed.
    shared_out
        The imbalance if the same work had been shared out with all of it known beforehand, wherever prefixes lie: the
        requests that computed most first, each to whoever had least.
    in_turn
        The imbalance if each request had gone to whoever had least so far, wherever prefixes lie.
    ttft
        Seconds from a request's arrival to its first token: half, nine in ten, 95 and 99 in a hundred were not slower.
    seconds
        From the first arrival to the last answer.
    """

    requests: int
    refused: int
    prompt_tokens: int
    cached_tokens: int
    work: tuple[int, ...]
    shared_out: float
    in_turn: float
    ttft: tuple[float | None, float | None, float | None, float | None]
    preemptions: int
    seconds: float

    @property
    def hit_rate(self) -> float:
        """The share of the prompt tokens that was not computed."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def imbalance(self) -> float:
        """The work of the replica that had most, over the mean."""
        return imbalance(self.work)


def imbalance(work: Sequence[int]) -> float:
    """The largest work over the mean."""
    return max(work) * len(work) / sum(work) if sum(work) else 1.0


def shared_out(jobs: Iterable[int], replicas: int) -> float:
    """The imbalance of jobs shared out in this order, each to the replica that has least."""
    work = [0] * replicas
    for job in jobs:
        heapq.heapreplace(work, work[0] + job)
    return imbalance(work)


class SimulatedReplica:
    """A scheduler over a cache, whose steps take time, and what has happened in the cache since somebody asked."""

    def __init__(self, cache: CacheConfig, scheduler: SchedulerConfig, costs: Costs, scale: int):
        self._translator = KVEventTranslator(cache.num_blocks, cache.block_size, SPACE.key)
        self._events: list[KVEvent] = []
        self._sequence = 0
        self._costs = costs
        self._scale = scale
        self._plan: StepPlan | None = None
        self.scheduler = Scheduler(scheduler, PrefixCache(cache, events=self._hear))

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self._plan is not None

    def begin(self, now: float) -> float | None:
        """Begin a step; returns when it ends, or None if there is nothing to compute."""
        plan = self.scheduler.schedule(now)
        if not plan.chunks:
            return None
        self._plan = plan
        return now + self._costs.plan_seconds(plan, self._scale)

    def end(self, now: float) -> tuple[list[Request], list[Request]]:
        """End the step: the requests that got their first token, and those that got their last and have ended."""
        plan, self._plan = self._plan, None
        assert plan is not None
        ended = end_step(self.scheduler, plan, lambda _: 0)
        for request in ended:
            self.scheduler.finish(request, now)
        first = [c.request for c in plan.chunks if c.samples and c.request.num_tokens == c.request.num_prompt_tokens + 1]
        return first, ended

    def batch(self) -> tuple[int, list[KVEvent]] | None:
        """The events since the last batch, and which batch it is; None if there are none."""
        if not self._events:
            return None
        events, self._events = self._events, []
        self._sequence += 1
        return self._sequence - 1, events

    def snapshot(self) -> tuple[int, list[KVEvent]]:
        """All that is cached, and behind which batch."""
        return self._sequence - 1, list(self._translator.snapshot())

    def _hear(self, event: CacheEvent) -> None:
        told = self._translator(event)
        if told is not None:
            self._events.append(told)


class Fleet:
    """Replicas that are alike, and their router.

    ``cache`` and ``scheduler`` are those of one replica, in tokens of the simulation: each stands for ``scale`` of the
    trace's, in prompts, answers, caches and steps.
    """

    def __init__(
        self,
        router: FleetRouter,
        replicas: int,
        cache: CacheConfig,
        scheduler: SchedulerConfig,
        costs: Costs,
        scale: int = 1,
    ):
        self.router = router
        self.names = [f"replica-{number}" for number in range(replicas)]
        self.replicas = {name: SimulatedReplica(cache, scheduler, costs, scale) for name in self.names}
        self._hasher = BlockHasher(cache.block_size)
        self._scale = scale
        self._ends: list[tuple[float, int]] = []  # a heap: when a replica's step ends
        self._numbers = {name: number for number, name in enumerate(self.names)}
        facts = ReplicaFacts(
            identity=replace(SPACE.model, block_size=cache.block_size),
            prefill_rate=1 / (costs.model.per_token * scale),
            concurrency=scheduler.max_num_seqs,
            max_tokens=cache.num_blocks * cache.block_size,
        )
        for name in self.names:
            router.join(name, facts)

    def run(self, requests: Iterable[TraceRequest]) -> FleetResult:
        """Replay a trace: requests come at their times, whatever waits."""
        tally = _Tally(self._scale, len(self.names))
        coming = iter(requests)
        upcoming, now = next(coming, None), 0.0
        while upcoming is not None or self._ends:
            if upcoming is not None and (not self._ends or upcoming.arrival <= self._ends[0][0]):
                now = max(now, upcoming.arrival)
                self._send(upcoming, now, tally)
                upcoming = next(coming, None)
            else:
                now, number = heapq.heappop(self._ends)
                self._end_step(number, now, tally)
        preemptions = sum(each.scheduler.num_preemptions for each in self.replicas.values())
        return tally.result(preemptions, now)

    def _send(self, request: TraceRequest, now: float, tally: "_Tally") -> None:
        prompt, name = request.prompt(self._scale), f"request-{request.number}"
        namespace = namespace_of(request)
        length = request.length(self._scale)
        limit = length + max(1, request.output_tokens // self._scale)
        try:
            if not prompt:
                raise PromptError("a request without a prompt")
            hashes = self._hasher.prompt(namespace.key, prompt)
            where = self.router.place(RoutedRequest(name, hashes, length), now)
            scheduled = Request(name, prompt, namespace, limit, request.arrival, request.uses_cache)
            self.replicas[where].scheduler.add(scheduled)
        except PromptError:
            tally.refused += 1
            self.router.finished(name, now)
            return
        tally.where[name] = self._numbers[where]
        self._begin_step(self._numbers[where], now)

    def _begin_step(self, number: int, now: float) -> None:
        replica = self.replicas[self.names[number]]
        if not replica.busy:
            end = replica.begin(now)
            if end is not None:
                heapq.heappush(self._ends, (end, number))

    def _end_step(self, number: int, now: float, tally: "_Tally") -> None:
        name = self.names[number]
        replica = self.replicas[name]
        first, ended = replica.end(now)
        batch = replica.batch()
        if batch is not None:
            self.router.apply(name, replica, *batch)
        for request in first:
            reused = request.account().reused
            self.router.started(request.request_id, reused, now)
            tally.add(request, reused, now)
        for request in ended:
            self.router.finished(request.request_id, now)
        self._begin_step(number, now)


class _Tally:
    """Adds requests up."""

    def __init__(self, scale: int, replicas: int):
        self.refused = 0
        self.where: dict[str, int] = {}
        self._scale = scale
        self._requests = self._prompt = self._cached = 0
        self._work = np.zeros(replicas, np.int64)
        self._jobs: list[int] = []
        self._ttft = Distribution()

    def add(self, request: Request, reused: int, now: float) -> None:
        """A request's first token came."""
        self._requests += 1
        self._prompt += request.num_prompt_tokens
        self._cached += reused
        self._work[self.where.pop(request.request_id)] += request.num_prompt_tokens - reused
        self._jobs.append(request.num_prompt_tokens - reused)
        self._ttft.add(now - request.arrival)

    def result(self, preemptions: int, seconds: float) -> FleetResult:
        """All of it."""
        p50, p90, p95, p99 = (self._ttft.quantile(share) for share in (0.5, 0.9, 0.95, 0.99))
        return FleetResult(
            self._requests, self.refused, self._prompt * self._scale, self._cached * self._scale,
            tuple((self._work * self._scale).tolist()), shared_out(sorted(self._jobs, reverse=True), len(self._work)),
            shared_out(self._jobs, len(self._work)), (p50, p90, p95, p99), preemptions, seconds,
        )  # fmt: skip
