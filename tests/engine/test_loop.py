"""The loop with a runner that computes nothing: waiting is a state, a deadlock an error, and no torch is needed."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from foreword.cache import (
    CacheConfig,
    Chunk,
    CopyBlock,
    LoadBlocks,
    ModelFingerprint,
    PrefixCache,
    Query,
    Reservation,
    StoreBlocks,
)
from foreword.engine import Engine, EngineInfo, EngineRequest, SamplingParams
from foreword.engine.engine import StepState
from foreword.engine.generation import Generation
from foreword.engine.llm import LLMOverEngine
from foreword.engine.model_text import ModelText
from foreword.engine.runner import Sampled, SampledToken, Step, in_turn
from foreword.engine.tier import Found, TierNews
from foreword.engine.tier_state import TierState
from foreword.errors import StepFailed
from foreword.events import BlockStored, Event, EventRelay, RequestFinished, StepFinished
from foreword.prompt.tokenizer import HubTokenizer
from foreword.sched import Scheduler, SchedulerConfig
from foreword.tokens import pack_tokens

REQUEST = EngineRequest(pack_tokens(range(20)), SamplingParams(max_tokens=3))


class CountingRunner:
    """The next token is the count of the tokens before it."""

    def __init__(self) -> None:
        self.carried_out: list[CopyBlock] = []

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        self.carried_out += actions

    def run(self, step: Step) -> list[Sampled]:
        return [Sampled(in_turn(chunk, lambda chunk: SampledToken(chunk.end % 50))) for chunk in step.chunks]


class HoldingCache(PrefixCache):
    """Plans nothing while ``held``: as if what requests read were still to be brought."""

    held = False
    asked = 0

    def plan(self, reservation: Reservation, num_tokens: int, budget: int) -> Chunk | None:
        self.asked += 1
        return None if self.held else super().plan(reservation, num_tokens, budget)


class Load:
    """A tier that stores nothing, and from which something is under way to the engine."""

    def __init__(self) -> None:
        self.under_way = True
        self.ring: Callable[[], None] = lambda: None
        self.found: list[TierNews] = []
        self.steps_given_way = 0

    def look_up(self, number: int, _: Query) -> None:
        self.found.append(Found(number, ()))

    def begin(self, transfer: LoadBlocks | StoreBlocks) -> None:
        raise AssertionError(transfer)

    def news(self) -> list[TierNews]:
        found, self.found = self.found, []
        return found

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        self.steps_given_way += 1
        yield

    def computed(self, tokens: int, seconds: float) -> None:
        """It loads nothing."""

    def close(self, seconds: float, stores: Sequence[StoreBlocks] = ()) -> None:
        """It has nothing open."""

    def awaited(self) -> bool:
        return self.under_way

    def state(self) -> TierState:
        return TierState((), 0, 0)

    def on_arrival(self, ring: Callable[[], None]) -> None:
        self.ring = ring


def make(load: Load | None = None, runner: CountingRunner | None = None) -> tuple[Engine, HoldingCache]:
    cache = HoldingCache(CacheConfig(num_blocks=20))
    info = EngineInfo("none", 100, 50, 20, 16, 1.0, 8, True, frozenset(), ModelFingerprint("none"))
    scheduler = Scheduler(SchedulerConfig(max_num_seqs=8), cache)
    text = ModelText(HubTokenizer(Tokenizer(WordLevel({"a": 0}, unk_token="a"))))
    return Engine(scheduler, runner or CountingRunner(), info, text, tier=load), cache


def test_steps_work_until_there_is_nothing_to_do() -> None:
    engine, _ = make()
    generation = engine.add_request(REQUEST)
    states = [engine.step().state for _ in range(4)]
    assert states == [StepState.WORKED] * 3 + [StepState.IDLE]
    assert generation.output().outputs[0].token_ids == [20, 21, 22]


def test_what_others_bring_is_waited_for() -> None:
    load = Load()
    engine, cache = make(load)
    generation = engine.add_request(REQUEST)
    cache.held = True
    for _ in range(3):
        outcome = engine.step()
        assert (outcome.state, outcome.news) == (StepState.AWAITING, ())
    cache.held = load.under_way = False
    while engine.has_unfinished_requests():
        assert engine.step().state is StepState.WORKED
    assert generation.error is None
    engine.check_integrity()


def test_what_the_cache_asks_for_is_carried_out_also_where_nothing_is_computed() -> None:
    """Were it not, whoever waits for what a tier is to load would wait for ever: the request is not made twice."""
    runner, load = CountingRunner(), Load()
    engine, cache = make(load, runner)
    engine.add_request(REQUEST)
    cache.held = True
    asked = CopyBlock(3, 4, 16)
    cache.actions.add(asked)
    assert engine.step().state is StepState.AWAITING
    assert engine.step().state is StepState.AWAITING
    assert runner.carried_out == [asked]


def test_storing_gives_way_to_steps_that_compute_and_to_no_others() -> None:
    load = Load()
    engine, cache = make(load)
    engine.add_request(REQUEST)
    cache.held = True
    engine.step()
    assert load.steps_given_way == 0
    cache.held = load.under_way = False
    while engine.has_unfinished_requests():
        engine.step()
    assert load.steps_given_way == 3


def test_what_nobody_brings_ends_the_requests() -> None:
    """They would wait for ever otherwise."""
    load = Load()
    engine, cache = make(load)
    generation = engine.add_request(REQUEST)
    cache.held, load.under_way = True, False
    outcome = engine.step()
    assert (outcome.state, outcome.news) == (StepState.STUCK, (generation,))
    assert isinstance(generation.error, StepFailed)
    assert "1 running, 0 waiting" in str(generation.error)
    assert engine.usage().held_blocks == 0
    assert engine.step().state is StepState.IDLE


def test_a_library_call_sleeps_until_the_bell_rings() -> None:
    load = Load()
    engine, cache = make(load)
    llm = LLMOverEngine(engine)
    cache.held = True

    def arrive() -> None:
        cache.held = load.under_way = False
        load.ring()

    timer = threading.Timer(0.05, arrive)
    timer.start()
    (output,) = llm.generate({"prompt_token_ids": list(range(20))}, SamplingParams(max_tokens=3))
    timer.join()
    assert output.outputs[0].token_ids == [20, 21, 22]


class OddRunner(CountingRunner):
    """In place of token 21 it brings what is no token."""

    def run(self, step: Step) -> list[Sampled]:
        odd = SampledToken(2**40)
        return [
            replace(each, tokens=tuple(odd if one.token == 21 else one for one in each.tokens)) for each in super().run(step)
        ]


def finish(engine: Engine, *generations: Generation) -> list[list[int]]:
    while engine.has_unfinished_requests():
        engine.step()
    engine.check_integrity()
    assert engine.usage().held_blocks == 0
    return [generation.output().outputs[0].token_ids for generation in generations]


@pytest.mark.parametrize("n", [1, 2])
def test_a_token_that_cannot_be_taken_ends_its_request_alone(n: int) -> None:
    made, _ = make()
    engine = Engine(made.scheduler, OddRunner(), made.info, made.text)
    broken = engine.add_request(EngineRequest(pack_tokens(range(20)), SamplingParams(n=n, max_tokens=3)))
    whole = engine.add_request(EngineRequest(pack_tokens(range(25)), SamplingParams(max_tokens=3)))
    assert finish(engine, whole) == [[25, 26, 27]]
    assert whole.error is None
    assert "could not be made: OverflowError" in str(broken.error)
    assert broken.finished


def test_a_runner_that_brings_too_little_fails_the_step() -> None:
    made, _ = make()

    class Forgetful(CountingRunner):
        def run(self, step: Step) -> list[Sampled]:
            return super().run(step)[1:]

    engine = Engine(made.scheduler, Forgetful(), made.info, made.text)
    generation = engine.add_request(REQUEST)
    assert finish(engine, generation) == [[]]
    assert "0 results for 1 chunks" in str(generation.error)


def test_a_sink_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []

    def sink(event: Event) -> None:
        told.append(event)
        raise ValueError("planted")

    events = EventRelay()
    events.add(sink)
    cache = PrefixCache(CacheConfig(num_blocks=20), events=events)
    made, _ = make()
    engine = Engine(Scheduler(SchedulerConfig(), cache), CountingRunner(), made.info, made.text, events=events)
    generations = [engine.add_request(REQUEST) for _ in range(2)]
    assert finish(engine, *generations) == [[20, 21, 22]] * 2
    assert {type(event) for event in told} >= {BlockStored, StepFinished, RequestFinished}
    (told_once,) = (record.getMessage() for record in caplog.records)
    assert "test_loop.py" in told_once
    assert "planted" not in told_once


WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "llvmlite", "safetensors")))  # an import of them raises
sys.path.insert(0, sys.argv[1])
from engine.test_loop import REQUEST, make
calls = []
sys.setprofile(lambda frame, event, argument: event == "call" and calls.append(frame.f_code))
engine, _ = make()
sys.setprofile(None)
generation = engine.add_request(REQUEST)
while engine.has_unfinished_requests():
    engine.step()
assert generation.output().outputs[0].token_ids == [20, 21, 22]
print(len(calls))
"""


def test_an_engine_is_made_and_runs_without_torch() -> None:
    """With about forty calls, in a tenth of a millisecond: ten times as many would not be putting together."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, tests], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 400
