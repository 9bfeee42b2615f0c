"""The step loop: aborts at every moment, preemption, failing steps; no block is ever lost."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from engine.checks import assert_settled
from engine.making import Made, add, finish
from foreword.engine import Engine, RequestOutput, SamplingParams
from foreword.engine.runner import Sampled, Step
from foreword.errors import ParameterError, StepFailed

GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)
PROMPT = list(range(2, 82))
BLOCK_BYTES = 16 * 3 * 2 * 32 * 4
Run = Callable[[Step], list[Sampled]]


def finish_one(engine: Engine) -> RequestOutput:
    request_id = add(engine, PROMPT, GREEDY)
    return finish(engine)[request_id]


@pytest.mark.parametrize(("steps", "moment"), [(0, "waiting"), (1, "prefilling"), (4, "decoding")])
def test_abort_at_every_moment(make_engine: Callable[..., Made], steps: int, moment: str) -> None:
    engine = make_engine(max_num_batched_tokens=32).engine
    request_id = add(engine, PROMPT, GREEDY)
    for _ in range(steps):
        engine.step()
    aborted = engine.abort(request_id)
    assert aborted is not None
    output = aborted.output()
    assert output.outputs[0].finish_reason == "abort"
    assert output.finished
    assert (len(output.outputs[0].token_ids) > 0) == (moment == "decoding")
    assert engine.abort(request_id) is None
    assert_settled(engine)


def test_preemption_keeps_the_answers(make_engine: Callable[..., Made]) -> None:
    """Those that were drawn with a seed too: what is drawn depends on the seed and the position alone."""
    kinds = [SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True)]
    kinds.append(SamplingParams(seed=3, max_tokens=60, ignore_eos=True))
    prompts = [[start] * 30 for start in range(2, 6)]
    large, small = make_engine().engine, make_engine(kv_cache_memory_bytes=12 * BLOCK_BYTES).engine
    for params in kinds:
        answers = []
        before = small.state().preemptions
        for engine in (large, small):
            ids = [add(engine, prompt, params) for prompt in prompts]
            outputs = finish(engine)
            answers.append([outputs[request_id].outputs for request_id in ids])
        assert large.state().preemptions == 0
        assert small.state().preemptions > before
        assert answers[0] == answers[1]
        assert sum(output.metrics.preemptions for output in outputs.values()) == small.state().preemptions - before


def test_not_a_number_ends_its_own_request_only(make_engine: Callable[..., Made]) -> None:
    made = make_engine()
    engine = made.engine

    def broken(step: Step, run: Run) -> list[Sampled]:
        pairs = zip(step.chunks, run(step), strict=True)
        return [replace(out, tokens=(), broken=True) if chunk.request_id == "bad" else out for chunk, out in pairs]

    expected = finish_one(engine)
    made.runner.hook = broken
    add(engine, PROMPT[:20], GREEDY, request_id="bad")
    add(engine, PROMPT, GREEDY, request_id="good")
    outputs = finish(engine)
    assert isinstance(outputs["bad"].error, StepFailed)
    assert "bad" in str(outputs["bad"].error)
    assert outputs["bad"].outputs[0].finish_reason == "error"
    assert outputs["good"].outputs == expected.outputs


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_failing_step_ends_its_requests_and_nothing_of_it_stays(make_engine: Callable[..., Made], where: str) -> None:
    made = make_engine()
    engine = made.engine
    for prompt in (PROMPT, PROMPT[::-1]):
        add(engine, prompt, GREEDY)

    def fail(step: Step, run: Run) -> list[Sampled]:
        if where == "behind":
            run(step)
        raise RuntimeError("made by the test")

    made.runner.hook = fail
    failed = engine.step().news
    made.runner.hook = None
    assert len(failed) == 2
    for generation in failed:
        output = generation.output()
        assert output.finished
        assert output.outputs[0].finish_reason == "error"
        assert isinstance(output.error, StepFailed)
        assert "RuntimeError" in str(output.error)
        assert str(output.error.__cause__) == "made by the test"
    assert_settled(engine)
    after = finish_one(engine)
    assert after.error is None
    assert after.num_cached_tokens == 0
    assert after.outputs == finish_one(make_engine().engine).outputs


def test_a_prompt_that_needs_every_block_is_answered(make_engine: Callable[..., Made]) -> None:
    """Also when it shares a part of a block whose owner must make way for it."""
    engine = make_engine(kv_cache_memory_bytes=4 * BLOCK_BYTES).engine
    one = SamplingParams(temperature=0.0, max_tokens=1)
    add(engine, PROMPT[:52], one)
    finish(engine)
    fits_exactly = PROMPT[:24] + [200] * 40
    request_id = add(engine, fits_exactly, one)
    assert finish(engine)[request_id].error is None


def test_request_ids(make_engine: Callable[..., Made]) -> None:
    """Any text may be one, also such as the engine makes itself; one in use is refused."""
    engine = make_engine().engine
    names = ["a/b", "a", "request-0", "a/b/0"]
    for name in names:
        assert add(engine, PROMPT[:9], GREEDY, request_id=name) == name
    assert add(engine, PROMPT[:9], GREEDY) not in names
    with pytest.raises(ParameterError, match="request_id 'a/b' is in use"):
        add(engine, PROMPT, GREEDY, request_id="a/b")
    assert len(finish(engine)) == 5


def test_only_streams_give_news_before_the_end(make_engine: Callable[..., Made]) -> None:
    engine = make_engine().engine
    add(engine, PROMPT, GREEDY, request_id="streamed")
    add(engine, PROMPT, GREEDY, request_id="whole", stream=False)
    seen = []
    while engine.has_unfinished_requests():
        seen += [generation.request_id for generation in engine.step().news]
    assert seen.count("streamed") == 6
    assert seen.count("whole") == 1


def test_figures_account_for_every_prompt_token(make_engine: Callable[..., Made]) -> None:
    engine = make_engine().engine
    finish_one(engine)
    account = finish_one(engine).account
    assert (account.prompt_tokens, account.cached, account.computed, account.unprocessed) == (80, 79, 1, 0)


def test_runs_are_the_same_with_padding_row_and_without(make_engine: Callable[..., Made]) -> None:
    """The padding row of an odd batch is stored nowhere."""
    made = make_engine()
    memory, info = made.parts.runner.memory, made.engine.info
    add(made.engine, PROMPT[:1], SamplingParams(temperature=0.0, max_tokens=1))
    finish(made.engine)
    for layer in range(len(memory.layers)):
        for part in memory.read(layer, torch.arange(info.cache_tokens)):
            assert int(part.any(-1).any(0).sum()) == 1


def test_tokens_that_may_not_end_the_answer_leave_one_to_choose(make_engine: Callable[..., Made]) -> None:
    engine = make_engine().engine
    every = list(range(engine.info.vocab_size))
    with pytest.raises(ParameterError, match="min_tokens is 6, but every token"):
        add(engine, PROMPT, SamplingParams(max_tokens=8, min_tokens=6, stop_token_ids=every))
    add(engine, PROMPT, SamplingParams(max_tokens=6, min_tokens=6, stop_token_ids=every[1:], ignore_eos=True))
    (output,) = finish(engine).values()
    assert output.outputs[0].token_ids == [0] * 6
