"""Where a step's time goes: model, attention, cache, scheduling, sampling, and the rest.

An engine is made of the same parts, with a stopwatch in between: before its scheduler, cache and runner, and handed to the
runner as its observer. What a call spends in another one that is watched counts for the inner one alone, so the parts add
up to the step.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from foreword.backends.base import ATTENTION, LINEAR, MODELLING
from foreword.engine.build import EngineParts
from foreword.engine.engine import Engine
from foreword.engine.model_runner import SAMPLING, ModelRunner
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.sched import Scheduler
from foreword.tokens import pack_tokens

CACHE, SCHEDULING = "cache", "scheduling"
BATCH, OUTPUT, REST = "building the batch", "text and output", "rest of the step"
PARTS = (LINEAR, MODELLING, ATTENTION, CACHE, SCHEDULING, SAMPLING, BATCH, OUTPUT, REST)
MODEL_PARTS = (LINEAR, MODELLING, ATTENTION)
"""What is model or attention; the others are what the engine adds."""
PREFIX, OWN, STEPS, BATCHES = 512, 32, 32, (1, 8)
"""Tokens that all share, tokens of each request's own, decode steps that count, and how many requests decode together."""


class Stopwatch:
    """Seconds by part, each without the parts inside it. A StepObserver."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0
        self._seconds = dict.fromkeys(PARTS, 0.0)

    def begin(self, part: str) -> None:
        """See StepObserver."""
        self._settle()
        self._open.append(part)

    def end(self) -> None:
        """See StepObserver."""
        self._settle()
        self._open.pop()

    def go_over_to(self, part: str) -> None:
        """The innermost part, if there is one, ends here, and ``part`` takes its place."""
        if self._open:
            self.end()
            self.begin(part)

    def timed(self, call: Callable[..., Any], part: str, *args: Any, **options: Any) -> Any:
        """Make a call, for ``part``."""
        self.begin(part)
        try:
            return call(*args, **options)
        finally:
            self.end()

    def lap(self) -> dict[str, float]:
        """Seconds by part since the last lap."""
        seconds, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return seconds

    def _settle(self) -> None:
        """What has passed since the last change belongs to the innermost part."""
        now = self._clock()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


class Timed:
    """A part of an engine, the calls of some of its methods timed; everything else is the part's own."""

    def __init__(self, watch: Stopwatch, part: Any, methods: Mapping[str, str]):
        self._watch, self._part, self._methods = watch, part, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return partial(self._watch.timed, found, self._methods[name]) if name in self._methods else found


class TimedScheduler(Timed):
    """What comes after a step is committed is output."""

    def commit(self, plan: Any, *refused: Any) -> None:
        """See Scheduler."""
        self._watch.timed(self._part.commit, SCHEDULING, plan, *refused)
        self._watch.go_over_to(OUTPUT)


@contextmanager
def watched(parts: EngineParts) -> Iterator[tuple[Engine, Stopwatch]]:
    """An engine of these parts, and the stopwatch between them. Its steps are to be timed for REST."""
    watch, runner = Stopwatch(), parts.runner
    cache: Any = Timed(watch, parts.cache, dict.fromkeys(("match", "reserve", "plan", "commit", "grow", "release"), CACHE))
    scheduler: Any = Scheduler(parts.config.scheduler_config(), cache)
    scheduler = TimedScheduler(watch, scheduler, dict.fromkeys(("schedule", "finish"), SCHEDULING))
    observed: Any = ModelRunner(parts.model, runner.memory, runner.backend, watch)
    observed = Timed(watch, observed, {"run": BATCH, "carry_out": CACHE})
    hooks = []
    for layer in runner.backend.linear_layers(parts.model.module):
        hooks.append(layer.module.register_forward_pre_hook(lambda *_: watch.begin(LINEAR)))
        hooks.append(layer.module.register_forward_hook(lambda *_: watch.end(), always_call=True))
    try:
        undrafted = replace(parts.config, draft="off")  # a step is to be one token
        yield replace(parts, config=undrafted, scheduler=scheduler).engine(runner=observed), watch
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Phase:
    """A kind of step: seconds by part, medians of ``laps`` steps (or prefills)."""

    name: str
    laps: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    @property
    def added(self) -> float:
        """Share, 0 to 1, that is neither model nor attention."""
        return 1 - sum(self.seconds[part] for part in MODEL_PARTS) / self.total

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {"phase": self.name, "laps": self.laps, "seconds": self.seconds, "neither_model_nor_attention": self.added}


def profile(parts: EngineParts, repetitions: int = 3) -> list[Phase]:
    """Profile prefill, and decode at each of BATCHES; prompts are shorter where the model's context asks for it."""
    prefix = min(PREFIX, parts.info.max_model_len - OWN - STEPS - 2)
    rng, vocab = random.Random(0), parts.info.vocab_size

    def some(count: int) -> list[int]:
        return [rng.randrange(vocab) for _ in range(count)]

    with watched(parts) as (engine, watch):
        step = partial(watch.timed, partial(_step, engine), REST)
        _add(engine, [some(OWN)], n_out=4)
        _finish(engine, step)
        laps = []
        for _ in range(repetitions):
            head = some(prefix)
            watch.lap()
            _add(engine, [head], n_out=1)
            _finish(engine, step)
            laps.append(watch.lap())
        phases = [_phase(f"prefill of {prefix} tokens", laps)]
        for batch in BATCHES:
            laps = []
            for _ in range(repetitions):
                laps += _decode(engine, step, watch, [head + some(OWN) for _ in range(batch)])
            phases.append(_phase(f"decode, batch {batch}", laps))
    return phases


def _decode(engine: Engine, step: Callable[[], None], watch: Stopwatch, prompts: list[list[int]]) -> list[dict[str, float]]:
    """A lap for each step in which all of the requests get a token after their first."""
    _add(engine, prompts, STEPS + 2)
    step()
    while engine.scheduler.waiting or any(r.num_tokens == r.num_prompt_tokens for r in engine.scheduler.running):
        step()
    watch.lap()
    laps = []
    for _ in range(STEPS):
        step()
        laps.append(watch.lap())
    _finish(engine, step)
    return laps


def _add(engine: Engine, prompts: list[list[int]], n_out: int) -> None:
    for prompt in prompts:
        params = SamplingParams(temperature=0.0, max_tokens=n_out, ignore_eos=True)
        engine.add_request(EngineRequest(pack_tokens(prompt), params))


def _step(engine: Engine) -> None:
    for generation in engine.step().news:
        if generation.error is not None:
            raise generation.error


def _finish(engine: Engine, step: Callable[[], None]) -> None:
    while engine.has_unfinished_requests():
        step()


def _phase(name: str, laps: list[dict[str, float]]) -> Phase:
    return Phase(name, len(laps), {part: median(lap[part] for lap in laps) for part in PARTS})
