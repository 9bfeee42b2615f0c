"""The step loop: aborts at every moment, preemption, failing steps; no block is ever lost."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.checks import assert_settled
from foreword.engine import LLM, Engine, RequestOutput, SamplingParams
from foreword.errors import ParameterError, StepFailed
from foreword.sched import StepPlan

GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)
PROMPT = list(range(2, 82))
BLOCK_BYTES = 16 * 3 * 2 * 32 * 4


@pytest.fixture
def make_engine(make_llm: Callable[..., LLM]) -> Callable[..., Engine]:
    return lambda **options: make_llm(**options).engine


def finish(engine: Engine) -> dict[str, RequestOutput]:
    """Step to the end, checking the books after every step; the last outputs by request id."""
    outputs = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            outputs[output.request_id] = output
        engine.cache.check_integrity()
    assert_settled(engine)
    return outputs


@pytest.mark.parametrize(("steps", "moment"), [(0, "waiting"), (1, "prefilling"), (4, "decoding")])
def test_abort_at_every_moment(make_engine: Callable[..., Engine], steps: int, moment: str) -> None:
    engine = make_engine(max_num_batched_tokens=32)
    request_id = engine.add_request(PROMPT, GREEDY)
    for _ in range(steps):
        engine.step()
    output = engine.abort(request_id)
    assert output is not None
    assert output.outputs[0].finish_reason == "abort"
    assert output.finished
    assert (len(output.outputs[0].token_ids) > 0) == (moment == "decoding")
    assert engine.abort(request_id) is None
    assert_settled(engine)


def test_preemption_keeps_the_answers(make_engine: Callable[..., Engine]) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True)
    prompts = [[start] * 30 for start in range(2, 6)]
    large, small = make_engine(), make_engine(kv_cache_memory_bytes=12 * BLOCK_BYTES)
    answers = []
    for engine in (large, small):
        ids = [engine.add_request(prompt, params) for prompt in prompts]
        outputs = finish(engine)
        answers.append([outputs[request_id].outputs for request_id in ids])
    assert large.scheduler.num_preemptions == 0
    assert small.scheduler.num_preemptions > 0
    assert answers[0] == answers[1]
    assert sum(output.metrics.preemptions for output in outputs.values()) == small.scheduler.num_preemptions


def test_not_a_number_ends_its_own_request_only(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    run = engine.runner.run

    def broken(plan: StepPlan, every_row: Any = ()) -> Any:
        out = run(plan, every_row)
        for chunk in out:
            if chunk.chunk.request.request_id == "bad":
                with torch.inference_mode():
                    chunk.logits.fill_(float("nan"))
        return out

    expected = finish_one(engine)
    engine.runner.run = broken  # type: ignore[method-assign]
    engine.add_request(PROMPT[:20], GREEDY, request_id="bad")
    engine.add_request(PROMPT, GREEDY, request_id="good")
    outputs = finish(engine)
    assert isinstance(outputs["bad"].error, StepFailed)
    assert "bad" in str(outputs["bad"].error)
    assert outputs["bad"].outputs[0].finish_reason == "error"
    assert outputs["good"].outputs == expected.outputs


def finish_one(engine: Engine) -> RequestOutput:
    request_id = engine.add_request(PROMPT, GREEDY)
    return finish(engine)[request_id]


@pytest.mark.parametrize("where", ["run", "sample"])
def test_a_failing_step_ends_its_requests_and_nothing_of_it_stays(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    engine = make_engine()
    for prompt in (PROMPT, PROMPT[::-1]):
        engine.add_request(prompt, GREEDY)
    with monkeypatch.context() as patch:
        patch.setattr(*((engine.runner, "run") if where == "run" else (engine, "_sample")), fail)
        outputs = engine.step()
    assert len(outputs) == 2
    for output in outputs:
        assert output.finished
        assert output.outputs[0].finish_reason == "error"
        assert isinstance(output.error, StepFailed)
        assert "RuntimeError: made by the test" in str(output.error)
    assert_settled(engine)
    after = finish_one(engine)
    assert after.error is None
    assert after.num_cached_tokens == 0
    assert after.outputs == finish_one(make_engine()).outputs


def fail(*_: Any) -> None:
    raise RuntimeError("made by the test")


def test_a_step_in_which_nobody_can_go_on_ends_the_requests(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would spin for ever otherwise."""
    engine = make_engine()
    engine.add_request(PROMPT, GREEDY)
    monkeypatch.setattr(engine.cache, "reserve", lambda *_, **__: None)
    (output,) = engine.step()
    assert isinstance(output.error, StepFailed)
    assert "0 running, 1 waiting" in str(output.error)
    assert_settled(engine)
    assert engine.step() == []


def test_a_prompt_that_needs_every_block_is_answered(make_engine: Callable[..., Engine]) -> None:
    """Also when it shares a part of a block whose owner must make way for it."""
    engine = make_engine(kv_cache_memory_bytes=4 * BLOCK_BYTES)
    one = SamplingParams(temperature=0.0, max_tokens=1)
    engine.add_request(PROMPT[:52], one)
    finish(engine)
    fits_exactly = PROMPT[:24] + [200] * 40
    request_id = engine.add_request(fits_exactly, one)
    assert finish(engine)[request_id].error is None


def test_request_ids(make_engine: Callable[..., Engine]) -> None:
    """Any text may be one, also such as the engine makes itself; one in use is refused."""
    engine = make_engine()
    names = ["a/b", "a", "request-0", "a/b/0"]
    for name in names:
        assert engine.add_request(PROMPT[:9], GREEDY, request_id=name) == name
    assert engine.add_request(PROMPT[:9], GREEDY) not in names
    with pytest.raises(ParameterError, match="request_id 'a/b' is in use"):
        engine.add_request(PROMPT, GREEDY, request_id="a/b")
    assert len(finish(engine)) == 5


def test_only_streams_give_outputs_before_the_end(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    engine.add_request(PROMPT, GREEDY, request_id="streamed")
    engine.add_request(PROMPT, GREEDY, request_id="whole", stream=False)
    seen = []
    while engine.has_unfinished_requests():
        seen += [output.request_id for output in engine.step()]
    assert seen.count("streamed") == 6
    assert seen.count("whole") == 1


def test_figures_account_for_every_prompt_token(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    finish_one(engine)
    account = finish_one(engine).account
    assert (account.prompt_tokens, account.cached, account.computed, account.unprocessed) == (80, 79, 1, 0)


def test_runs_are_the_same_with_padding_row_and_without(make_engine: Callable[..., Engine]) -> None:
    """The padding row of an odd batch is stored nowhere."""
    engine = make_engine()
    memory, config = engine.runner.memory, engine.cache.config
    engine.add_request(PROMPT[:1], SamplingParams(temperature=0.0, max_tokens=1))
    finish(engine)
    slots = torch.arange(config.num_blocks * config.block_size)
    for layer in range(len(memory.layers)):
        for part in memory.read(layer, slots):
            assert int(part.any(-1).any(0).sum()) == 1
