"""Where a step's time goes: model, attention, cache, scheduling, sampling, and the rest.

Nothing in the engine knows of it. For the time of a profile, clocks are put around the methods that the engine calls; what
a call spends in another one that is watched counts for the inner one alone, so the parts add up to the step.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from foreword.backends.base import ATTENTION, LINEAR, MODELLING
from foreword.engine.build import EngineParts
from foreword.engine.engine import Engine
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens

CACHE, SCHEDULING, SAMPLING = "cache", "scheduling", "sampling"
BATCH, OUTPUT, REST = "building the batch", "text and output", "rest of the step"
PARTS = (LINEAR, MODELLING, ATTENTION, CACHE, SCHEDULING, SAMPLING, BATCH, OUTPUT, REST)
MODEL_PARTS = (LINEAR, MODELLING, ATTENTION)
"""What is model or attention; the others are what the engine adds."""
PREFIX, OWN, STEPS, BATCHES = 512, 32, 32, (1, 8)
"""Tokens that all share, tokens of each request's own, decode steps that count, and how many requests decode together."""


class Stopwatch:
    """Seconds by part, each without the parts inside it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._watched: list[tuple[Any, str]] = []

    def watch(self, owner: Any, name: str, part: str) -> None:
        """From now on calls of ``owner.name`` count for ``part``."""
        call = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            self.begin(part)
            try:
                return call(*args, **options)
            finally:
                self.end()

        self._replace(owner, name, timed)

    def _replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        setattr(owner, name, call)
        self._watched.append((owner, name))

    def release(self) -> None:
        """Leave all owners as they were."""
        while self._watched:
            owner, name = self._watched.pop()
            delattr(owner, name)

    def lap(self) -> dict[str, float]:
        """Seconds by part since the last lap."""
        seconds, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return seconds

    def begin(self, part: str) -> None:
        """See StepObserver."""
        self._settle()
        self._open.append(part)

    def end(self) -> None:
        """See StepObserver."""
        self._settle()
        self._open.pop()

    def _settle(self) -> None:
        """What has passed since the last change belongs to the innermost part."""
        now = self._clock()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


@contextmanager
def watching(parts: EngineParts, engine: Engine) -> Iterator[Stopwatch]:
    """A stopwatch around everything that a step calls."""
    watch = Stopwatch()
    watch.watch(engine, "step", REST)
    for name in ("schedule", "commit", "finish"):
        watch.watch(engine.scheduler, name, SCHEDULING)
    for name in ("match", "reserve", "plan", "commit", "grow", "release"):
        watch.watch(engine.scheduler.cache, name, CACHE)
    runner = parts.runner
    watch.watch(runner, "run", BATCH)
    watch.watch(runner, "carry_out", CACHE)
    watch.watch(runner.memory, "write", ATTENTION)
    watch.watch(runner.backend.attention, "prepare", ATTENTION)
    watch.watch(runner.backend.attention, "attend", ATTENTION)
    watch.watch(parts.model.module, "forward", MODELLING)
    for linear in runner.backend.linear_layers(parts.model.module):
        watch.watch(linear.module, "forward", LINEAR)
    runner.observer = watch
    watch.watch(runner, "sample", SAMPLING)
    watch.watch(engine, "_advance", OUTPUT)
    try:
        yield watch
    finally:
        runner.observer = None
        watch.release()


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


def profile(parts: EngineParts, engine: Engine, repetitions: int = 3) -> list[Phase]:
    """Profile prefill, and decode at each of BATCHES; prompts are shorter where the model's context asks for it."""
    prefix = min(PREFIX, engine.info.max_model_len - OWN - STEPS - 2)
    rng, vocab = random.Random(0), engine.info.vocab_size

    def some(count: int) -> list[int]:
        return [rng.randrange(vocab) for _ in range(count)]

    _add(engine, [some(OWN)], n_out=4)
    _finish(engine)
    with watching(parts, engine) as watch:
        laps = []
        for _ in range(repetitions):
            head = some(prefix)
            watch.lap()
            _add(engine, [head], n_out=1)
            _finish(engine)
            laps.append(watch.lap())
        phases = [_phase(f"prefill of {prefix} tokens", laps)]
        for batch in BATCHES:
            laps = []
            for _ in range(repetitions):
                laps += _decode(engine, watch, [head + some(OWN) for _ in range(batch)])
            phases.append(_phase(f"decode, batch {batch}", laps))
    return phases


def _decode(engine: Engine, watch: Stopwatch, prompts: list[list[int]]) -> list[dict[str, float]]:
    """A lap for each step in which all of the requests get a token after their first."""
    _add(engine, prompts, STEPS + 2)
    _step(engine)
    while engine.scheduler.waiting or any(r.num_tokens == r.num_prompt_tokens for r in engine.scheduler.running):
        _step(engine)
    watch.lap()
    laps = []
    for _ in range(STEPS):
        _step(engine)
        laps.append(watch.lap())
    _finish(engine)
    return laps


def _add(engine: Engine, prompts: list[list[int]], n_out: int) -> None:
    for prompt in prompts:
        params = SamplingParams(temperature=0.0, max_tokens=n_out, ignore_eos=True)
        engine.add_request(EngineRequest(pack_tokens(prompt), params))


def _step(engine: Engine) -> None:
    for generation in engine.step().news:
        if generation.error is not None:
            raise generation.error


def _finish(engine: Engine) -> None:
    while engine.has_unfinished_requests():
        _step(engine)


def _phase(name: str, laps: list[dict[str, float]]) -> Phase:
    return Phase(name, len(laps), {part: median(lap[part] for lap in laps) for part in PARTS})
