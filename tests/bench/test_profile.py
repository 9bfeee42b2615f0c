"""The profile: parts add up, and the engine is left as it was."""

from collections.abc import Callable

import pytest

from engine.checks import assert_settled
from engine.making import Made
from foreword.bench import PARTS, profile
from foreword.bench.profile import ATTENTION, CACHE, LINEAR, REST, SAMPLING, SCHEDULING, Stopwatch, watching


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

    def outer(self) -> str:
        self.clock.now += 1.0
        self.inner()
        self.clock.now += 1.0
        return "done"

    def inner(self) -> None:
        self.clock.now += 5.0
        if self.clock.now > 10:
            raise ValueError


def test_a_part_is_counted_without_the_parts_inside_it() -> None:
    clock = Clock()
    watch, nested = Stopwatch(clock), Nested(clock)
    watch.watch(nested, "outer", SCHEDULING)
    watch.watch(nested, "inner", CACHE)
    assert nested.outer() == "done"
    clock.now += 100.0  # nobody's
    lap = watch.lap()
    assert (lap[SCHEDULING], lap[CACHE], sum(lap.values())) == (2.0, 5.0, 7.0)
    with pytest.raises(ValueError):
        nested.outer()
    assert watch.lap()[SCHEDULING] == 1.0
    watch.release()
    assert "outer" not in vars(nested)
    assert "inner" not in vars(nested)


def test_the_parts_of_a_step(make_engine: Callable[..., Made]) -> None:
    made = make_engine()
    phases = profile(made.parts, made.engine, repetitions=1)
    assert [phase.name for phase in phases] == ["prefill of 512 tokens", "decode, batch 1", "decode, batch 8"]
    assert [phase.laps for phase in phases] == [1, 32, 32]
    for phase in phases:
        assert tuple(phase.seconds) == PARTS
        assert min(phase.seconds[part] for part in (LINEAR, ATTENTION, CACHE, SCHEDULING, SAMPLING, REST)) > 0
        assert 0 < phase.added < 1
        assert phase.as_json()["phase"] == phase.name
    assert_settled(made.engine)


def test_the_engine_is_left_as_it_was(make_engine: Callable[..., Made]) -> None:
    made = make_engine()
    engine, parts = made.engine, made.parts
    objects = [engine, parts.scheduler, parts.cache, parts.runner, parts.runner.memory, parts.runner.backend]
    objects += list(parts.model.module.modules())
    before = [set(vars(each)) for each in objects]
    with watching(parts, engine):
        assert "step" in vars(engine)
    assert [set(vars(each)) for each in objects] == before
