"""What an engine tells its observer."""

from collections.abc import Iterator
from typing import Any

import pytest

from engine.making import add, token_ids
from foreword.account import Account, HitEnd, MissReason, Source
from foreword.engine import LLM, Engine, EngineConfig, SamplingParams
from foreword.engine.build import build_engine
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, RequestFinished, StepFinished
from foreword.observe import Observer, Reason
from foreword.tokens import unpack_tokens

TABLE = "| ID | Name | Salary |\n|----|------|--------|\n| 1 | Alice Smith | 85000 |\n| 2 | Bob Johnson | 65000 |\n"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return build_engine(EngineConfig(self_test=False, kv_cache_memory_bytes=2**23))


@pytest.fixture
def events(engine: Engine) -> Iterator[list[Event]]:
    engine.reset_prefix_cache()
    heard: list[Event] = []
    end = engine.subscribe(heard.append)
    yield heard
    end()
    engine.reset_prefix_cache()


def run(engine: Engine, *prompts: str, **params: Any) -> None:
    for number, prompt in enumerate(prompts):
        settings = SamplingParams(**{"temperature": 0, "max_tokens": 3, "ignore_eos": True, **params})
        add(engine, token_ids(engine, prompt), settings, request_id=f"r{number}")
        while engine.has_unfinished_requests():
            engine.step()


def test_a_request_tells_its_tokens_account_and_times(engine: Engine, events: list[Event]) -> None:
    ids = token_ids(engine, TABLE)
    run(engine, TABLE, TABLE)
    first, second = [event for event in events if isinstance(event, RequestFinished)]
    assert unpack_tokens(first.tokens) == ids
    assert len(unpack_tokens(first.generated)) == 3
    assert (first.account.cached, first.account.computed) == (0, len(ids))
    assert (second.account.cached, second.account.computed) == (len(ids) - 1, 1)
    assert first.account.hit_end == HitEnd(MissReason.FIRST_SEEN, 0)
    assert second.account.hit_end == HitEnd(MissReason.COMPLETE, len(ids) - 1)
    assert first.arrival <= (first.admitted or 0) <= (first.first_token or 0) <= first.finished <= second.arrival
    assert first.outcome == "length"


def test_steps_tell_their_spans(engine: Engine, events: list[Event]) -> None:
    length = len(token_ids(engine, TABLE))
    run(engine, TABLE)
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert [(step.spans, step.generating) for step in steps] == [(((0, length),), 0), ((), 1), ((), 1)]
    assert all(step.seconds > 0 for step in steps)


def test_several_continuations_are_one_request(engine: Engine, events: list[Event]) -> None:
    run(engine, TABLE, n=3)
    assert len([event for event in events if isinstance(event, RequestFinished)]) == 1


def test_an_abort_before_admission_is_told_too(engine: Engine, events: list[Event]) -> None:
    add(engine, [1, 2, 3], SamplingParams(), request_id="gone")
    engine.abort("gone")
    (event,) = events
    assert isinstance(event, RequestFinished)
    assert (event.outcome, event.admitted, event.account) == ("abort", None, Account(3, dict.fromkeys(Source, 0)))


def test_an_observer_explains_an_engines_requests(engine: Engine) -> None:
    engine.reset_prefix_cache()
    observer = Observer()
    end = engine.subscribe(observer)
    run(engine, TABLE + "How old is Alice?", TABLE + "What does Bob earn?")
    found = observer.explain("r1")
    assert (found.reason, found.account.unprocessed) == (Reason.DIVERGED, 0)
    assert observer.counts().requests == 2
    assert observer.savings().cost_model.observations > 0
    end()


def test_llm_explains_its_own_requests() -> None:
    llm = LLM(self_test=False, kv_cache_memory_bytes=2**23)
    params = SamplingParams(temperature=0, max_tokens=2)
    for name in ("Alice", "Bob"):
        (output,) = llm.generate(TABLE + f"How old is {name} in this table?", params, use_tqdm=False)
    found = llm.explain(output.request_id)
    assert (found.account.cached, found.reason.value) == (output.account.cached, output.miss_reason)
    assert found.shared_text.endswith("How old is ")
    assert found.new_text.startswith("Bob")


def test_what_enters_and_leaves_the_cache_is_told(engine: Engine, events: list[Event]) -> None:
    length = len(token_ids(engine, TABLE))
    run(engine, TABLE)
    stored = [event for event in events if isinstance(event, BlockStored)]
    assert (stored[0].start, len(stored[0].tokens) // 4) == (0, length)
    engine.reset_prefix_cache()
    assert any(isinstance(event, BlockRemoved) for event in events)
    assert isinstance(events[-1], AllBlocksCleared)


def test_several_are_told_and_each_until_it_has_enough(engine: Engine, events: list[Event]) -> None:
    heard: list[Event] = []
    end = engine.subscribe(heard.append)
    run(engine, TABLE)
    assert heard == events
    end()
    run(engine, TABLE)
    assert len(heard) < len(events)
