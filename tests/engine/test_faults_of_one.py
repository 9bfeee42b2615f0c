"""A fault of one request's text, log-probabilities or rules ends that request alone, and tells nobody's words."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from engine.making import Made, add, finish
from foreword.engine import RequestOutput, SamplingParams
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.runner import Sampled, Step
from foreword.errors import ServiceError, StepFailed

SECRET = "the secret of a neighbour"
RAISED: list[type[BaseException]] = [ValueError, StopIteration, type("PanicException", (BaseException,), {})]


class Broken:
    """Log-probabilities that nobody can read."""

    def __init__(self, error: BaseException):
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def outputs(made: Made, hook: Any, n: int = 1) -> dict[str, RequestOutput]:
    made.runner.hook = hook
    for name, first in (("one", 10), ("bad", 40), ("two", 70)):
        params = SamplingParams(max_tokens=8, ignore_eos=True, logprobs=2, seed=1, n=n if name == "bad" else 1)
        add(made.engine, range(first, first + 20), params, request_id=name)
    return finish(made.engine)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", RAISED)
def test_only_the_request_whose_output_cannot_be_made_ends(
    make_engine: Callable[..., Made], caplog: pytest.LogCaptureFixture, kind: type[BaseException], n: int
) -> None:
    def hook(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
        return [
            replace(sampled, tokens=tuple(replace(token, logprobs=broken) for token in sampled.tokens))
            if chunk.request_id.startswith("bad") and chunk.end > 22
            else sampled
            for chunk, sampled in zip(step.chunks, run(step), strict=True)
        ]

    broken: Any = Broken(kind(SECRET))
    right = outputs(make_engine(), None)
    with caplog.at_level(logging.DEBUG):
        found = outputs(make_engine(), hook, n)
    for name in ("one", "two"):
        assert found[name].outputs == right[name].outputs
    error = found["bad"].error
    assert isinstance(error, StepFailed)
    assert kind.__name__ in str(error)
    assert SECRET not in str(error) + caplog.text
    assert "generation.py" in caplog.text, "the log has the place"


def test_only_the_request_that_cannot_say_how_to_go_on_ends(make_engine: Callable[..., Made]) -> None:
    """Its rules are asked before the step; the step is planned again without it."""
    made = make_engine()
    right = outputs(make_engine(), None)
    for name, first in (("one", 10), ("two", 70)):
        params = SamplingParams(max_tokens=8, ignore_eos=True, logprobs=2, seed=1)
        add(made.engine, range(first, first + 20), params, request_id=name)
    bad = SamplingParams(max_tokens=8, seed=1)
    object.__setattr__(bad, "min_tokens", "x")  # cannot be compared
    add(made.engine, range(40, 60), bad, request_id="bad")
    found = finish(made.engine)
    assert isinstance(found["bad"].error, StepFailed)
    for name in ("one", "two"):
        assert found[name].outputs == right[name].outputs


def test_a_failed_step_tells_its_kind_and_no_words(
    make_engine: Callable[..., Made], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = outputs(make_engine(), lambda *_: _raise(RuntimeError(SECRET)))
    assert all("RuntimeError" in str(output.error) and SECRET not in str(output.error) for output in found.values())
    assert SECRET not in caplog.text


def test_what_a_call_raises_comes_back_whatever_it_is(
    make_engine: Callable[..., Made], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with AsyncEngine(lambda: make_engine().engine) as engine:
            for kind in RAISED[1:]:
                error = kind(SECRET)
                with pytest.raises(ServiceError, match=kind.__name__) as told:
                    await asyncio.wait_for(engine.call(partial(_raise, error)), 20)
                assert SECRET not in str(told.value) + caplog.text
            assert engine.death is None

    asyncio.run(main())


def _raise(error: BaseException, *_: object) -> None:
    raise error
