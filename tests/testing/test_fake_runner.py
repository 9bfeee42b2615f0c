"""The fake runner in a real engine: what it answers, what it catches, and how it fails."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from foreword.cache import CacheConfig, CopyBlock
from foreword.engine.engine import Engine
from foreword.engine.request import EngineRequest
from foreword.errors import StepFailed
from foreword.sampling_params import SamplingParams
from foreword.sched import SchedulerConfig
from foreword.testing import FakeRunner, VirtualClock, fake_engine
from foreword.tokens import pack_tokens

CACHE = CacheConfig(num_blocks=32, block_size=4)


def ask(engine: Engine, ids: Sequence[int], max_tokens: int = 3, name: str | None = None):  # type: ignore[no-untyped-def]
    return engine.add_request(EngineRequest(pack_tokens(ids), SamplingParams(max_tokens=max_tokens), name))


def run(engine: Engine) -> None:
    while engine.has_unfinished_requests():
        engine.step()
    engine.check_integrity()


def test_tokens_are_counts_and_steps_are_noted() -> None:
    runner = FakeRunner(CACHE)
    engine = fake_engine(CACHE, SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=8), runner)
    asked = ask(engine, range(10), name="a")
    run(engine)
    assert asked.continuations[0].token_ids() == [10, 11, 12]
    assert runner.steps[:3] == [(("a", 0, 8, False),), (("a", 8, 10, True),), (("a", 10, 11, True),)]


def test_what_is_reused_is_the_right_kv() -> None:
    """Many prompts over a small alphabet in little memory: shared, copied and evicted blocks hold what they should."""
    runner = FakeRunner(CACHE)
    engine = fake_engine(CACHE, SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=8), runner)
    for number in range(60):
        ask(engine, [number * number % 3, number % 2, *([number % 5] * (number % 17)), 7])
        engine.step()
    run(engine)
    assert engine.usage().evicted_tokens


class Forgetful(FakeRunner):
    """Carries out no copies."""

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        del actions


def test_kv_of_another_prefix_is_noticed() -> None:
    engine = fake_engine(CACHE, runner=Forgetful(CACHE))
    ask(engine, range(10))
    run(engine)
    wrong = ask(engine, [*range(6), 50, 51])
    run(engine)
    assert isinstance(wrong.error, StepFailed)
    assert "KV of another prefix" in str(wrong.error.__cause__)


def test_faults_come_when_they_are_asked_for() -> None:
    runner = FakeRunner(CACHE)
    engine = fake_engine(CACHE, runner=runner)
    runner.raise_next(RuntimeError("no more memory"))
    failed = ask(engine, range(10))
    run(engine)
    assert failed.error is not None
    assert "no more memory" in str(failed.error.__cause__)
    broken = ask(engine, range(10), name="broken")
    runner.break_logits("broken")
    run(engine)
    assert "not numbers" in str(broken.error)
    well = ask(engine, range(10))
    run(engine)
    assert well.error is None


def test_an_interrupt_leaves_the_requests() -> None:
    runner = FakeRunner(CACHE)
    engine = fake_engine(CACHE, runner=runner)
    asked = ask(engine, range(10))
    runner.raise_next(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    run(engine)
    assert asked.error is None


def test_time_passes_by_the_cost_of_steps() -> None:
    clock = VirtualClock(100.0)
    runner = FakeRunner(CACHE, clock, step_seconds=lambda step: step.num_tokens / 10)
    engine = fake_engine(CACHE, runner=runner)
    asked = ask(engine, range(10))
    run(engine)
    metrics = asked.metrics()
    assert (metrics.arrival_time, metrics.first_token_time) == (100.0, 101.0)
    assert metrics.finished_time == pytest.approx(101.2)


def test_nothing_of_it_needs_torch() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'safetensors', 'llvmlite')))\n"
        "import foreword.testing as t, foreword.replay\n"
        "t.fake_engine(), t.HashMachine, t.finished, t.run_cases"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
