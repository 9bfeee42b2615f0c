"""The profile: parts add up, and the engine is left as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.making import Made, add, finish
from foreword.backends.base import LINEAR
from foreword.bench import PARTS, profile
from foreword.bench.profile import CACHE, OUTPUT, REST, SCHEDULING, Stopwatch, Timed, watched
from foreword.engine import SamplingParams


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Nested:
    """Works for two seconds, and for five in between."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.inside: Callable[[], None] = self.inner

    def outer(self) -> str:
        self.clock.now += 1.0
        self.inside()
        self.clock.now += 1.0
        return "done"

    def inner(self) -> None:
        self.clock.now += 5.0
        if self.clock.now > 10:
            raise ValueError


def test_a_part_is_counted_without_the_parts_inside_it() -> None:
    clock = Clock()
    watch, nested = Stopwatch(clock), Nested(clock)
    inner: Any = Timed(watch, nested, {"inner": CACHE})
    nested.inside = inner.inner
    outer: Any = Timed(watch, nested, {"outer": SCHEDULING})
    assert outer.outer() == "done"
    assert outer.clock is clock
    clock.now += 100.0  # nobody's
    lap = watch.lap()
    assert (lap[SCHEDULING], lap[CACHE], sum(lap.values())) == (2.0, 5.0, 7.0)
    with pytest.raises(ValueError):
        outer.outer()
    assert watch.lap()[SCHEDULING] == 1.0


def test_a_part_goes_over_to_another() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    watch.begin(REST)
    clock.now += 2.0
    watch.go_over_to(OUTPUT)
    clock.now += 3.0
    watch.end()
    lap = watch.lap()
    assert (lap[REST], lap[OUTPUT]) == (2.0, 3.0)


@pytest.mark.parametrize(("family", "backend"), [("llama", "cpu"), ("gemma2", "cpu"), ("llama", "reference")])
def test_the_parts_of_a_step(
    make_engine: Callable[..., Made], model_dir: Callable[..., str], family: str, backend: str
) -> None:
    """Of layers that are one program of kernels, and of those that are called one by one."""
    made = make_engine(model=model_dir(family), backend=backend)
    phases = profile(made.parts, repetitions=1)
    assert [phase.name for phase in phases] == ["prefill of 512 tokens", "decode, batch 1", "decode, batch 8"]
    assert [phase.laps for phase in phases] == [1, 32, 32]
    for phase in phases:
        assert tuple(phase.seconds) == PARTS
        assert min(phase.seconds.values()) > 0
        assert 0 < phase.added < 1
        assert phase.as_json()["phase"] == phase.name


def test_the_model_is_left_as_it_was_and_gives_the_same_tokens(make_engine: Callable[..., Made]) -> None:
    made, prompt = make_engine(), list(range(2, 60))
    params = SamplingParams(temperature=0.0, max_tokens=5, ignore_eos=True)
    expected = [output.outputs[0].token_ids for output in _answers(made.engine, prompt, params)]
    layer = made.parts.runner.backend.linear_layers(made.parts.model.module)[0]
    rows = torch.zeros(1, layer.in_features)
    with watched(made.parts) as (engine, watch):
        assert [output.outputs[0].token_ids for output in _answers(engine, prompt, params)] == expected
        watch.lap()
        layer.module(rows)
        assert watch.lap()[LINEAR] > 0
    layer.module(rows)
    assert not any(watch.lap().values())


def _answers(engine: Any, prompt: list[int], params: SamplingParams) -> list[Any]:
    add(engine, prompt, params)
    return list(finish(engine).values())
