"""The loop of a whole engine: scheduler, cache and loop are those that serve; the runner and the clock are simulated."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreword.cache import CacheConfig
from foreword.engine.request import EngineRequest
from foreword.engine.runner import StepChunk
from foreword.errors import PromptError
from foreword.replay.costs import MEASURED, Costs
from foreword.replay.result import ReplayResult, Tally
from foreword.replay.simulated import SimulatedRunner, VirtualClock, simulated_engine
from foreword.replay.traces import TraceRequest
from foreword.sampling_params import SamplingParams
from foreword.sched import SchedulerConfig


@dataclass(eq=False)
class _Asked:
    """A request in the engine, the tokens that it will be answered with, and when it came by the trace."""

    request: TraceRequest
    answer: npt.NDArray[np.int32]
    arrival: float


class EngineReplay:
    """An engine that a trace is replayed through. One trace a time; the cache stays between two.

    ``speed``: how many of the trace's seconds pass in one of the engine's.
    """

    def __init__(
        self, cache: CacheConfig, scheduler: SchedulerConfig, costs: Costs = MEASURED, scale: int = 1, speed: float = 1.0
    ):
        self.clock = VirtualClock()
        self._scale = scale
        self._speed = speed
        self._asked: dict[str, _Asked] = {}
        self._runner = SimulatedRunner(self.clock, costs.step_seconds, self._next_token)
        self.engine = simulated_engine(cache, scheduler, self._runner, self.clock)
        self._lookahead = scheduler.lookahead

    def run(self, requests: Iterable[TraceRequest]) -> ReplayResult:
        """Replay a trace.

        Requests come at their times, or as soon as the engine looks at them: no more wait in it than it chooses among, so
        that memory does not grow with a queue. TTFT counts from their times all the same.
        """
        engine, tally, coming = self.engine, Tally(), iter(requests)
        start, upcoming = self.clock.now, next(coming, None)
        while True:
            while upcoming is not None and engine.state().waiting < self._lookahead:
                arrival = start + upcoming.arrival / self._speed
                if arrival > self.clock.now and engine.has_unfinished_requests():
                    break
                self.clock.now = max(self.clock.now, arrival)
                self._add(upcoming, arrival, tally)
                upcoming = next(coming, None)
            if not engine.has_unfinished_requests():
                break
            for generation in engine.step().news:
                asked, metrics = self._asked.pop(generation.request_id), generation.metrics()
                assert metrics.first_token_time is not None and generation.error is None
                account = generation.account()
                tally.add(account, generation.num_output_tokens, metrics.first_token_time - asked.arrival)
        usage, state = engine.usage(), engine.state()
        return tally.result(usage.evicted_tokens, state.preemptions, self.clock.now - start, self._runner.busy_seconds)

    def _add(self, request: TraceRequest, arrival: float, tally: Tally) -> None:
        answer = np.frombuffer(request.answer(self._scale), np.int32)
        params = SamplingParams(temperature=0.0, max_tokens=max(1, len(answer)), ignore_eos=True)
        asked = EngineRequest(
            request.prompt(self._scale),
            params,
            cache_salt=request.scope or None,
            conversation=request.conversation,
            use_cache=request.uses_cache,
            stream=False,
        )
        try:
            name = self.engine.add_request(asked).request_id
        except PromptError:
            tally.refused += 1
        else:
            self._asked[name] = _Asked(request, answer, arrival)

    def _next_token(self, chunk: StepChunk) -> int:
        answer, at = self._asked[chunk.request_id].answer, chunk.end - chunk.num_prompt_tokens
        return int(answer[at]) if at < len(answer) else 0
