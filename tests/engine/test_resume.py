"""An answer that another engine began goes on here with the very tokens, texts and figures it would have had there."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.making import Made, finish, token_ids
from foreword import SamplingParams, StructuredOutputs
from foreword.engine.async_llm import AsyncLLM
from foreword.engine.engine import Engine
from foreword.engine.generation import Reader
from foreword.engine.grammars import Grammars
from foreword.engine.request import ChoiceProgress, EngineRequest, Progress
from foreword.errors import GrammarFailed, ParameterError
from foreword.outputs import ChoiceDelta, Delta, Logprob
from foreword.testing import fake_engine
from foreword.tokens import pack_tokens

Told = tuple[tuple[int, ...], str, tuple[dict[int, Logprob], ...] | None, str | None, str | int | None, tuple[int, ...]]
PROMPT = "The prefix of a prompt is the whole of it."
NOTHING: Told = ((), "", None, None, None, ())
SHAPE = {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string", "maxLength": 12}}}
LOADS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"seed": 7},
    "narrow": {"seed": 7, "top_p": 0.8, "top_k": 20, "min_p": 0.01},
    "penalties": {"seed": 3, "presence_penalty": 1.5, "frequency_penalty": 0.7, "repetition_penalty": 1.3},
    "log-probabilities": {"seed": 5, "logprobs": 3},
    "log-probabilities of the prompt": {"seed": 5, "prompt_logprobs": 2, "logprobs": 0},
    "least tokens": {"seed": 9, "min_tokens": 9, "ignore_eos": False},
    "continuations": {"seed": 4, "n": 3},
    "a form": {"seed": 2, "structured_outputs": StructuredOutputs(json=SHAPE)},
}


def request(engine: Engine, params: SamplingParams) -> EngineRequest:
    form = Grammars(engine.text.tokenizer, engine.info.vocab_size, engine.info.end_token_ids).of(params.structured_outputs)
    return EngineRequest(pack_tokens(token_ids(engine, PROMPT)), params, grammar=form)


def news(engine: Engine, asked: EngineRequest) -> list[Delta]:
    """All that a reader of a request gets, step by step."""
    generation = engine.add_request(asked)
    reader = Reader(generation)
    told = [reader.take()] if generation.finished else []
    while engine.has_unfinished_requests():
        if generation in engine.step().news:
            told.append(reader.take())
    return told


def joined(deltas: list[Delta], index: int) -> Told:
    """What a reader was told of one continuation."""
    whole = NOTHING
    for choice in (choice for delta in deltas for choice in delta.choices if choice.index == index):
        whole = _behind(whole, choice)
    return whole


def _behind(told: Told, new: ChoiceDelta) -> Told:
    tokens, text, logprobs, _, _, ends = told
    more = logprobs if new.logprobs is None else (logprobs or ()) + new.logprobs
    return tokens + new.token_ids, text + new.text, more, new.finish_reason, new.stop_reason, ends + new.text_ends


def progress(deltas: list[Delta], params: SamplingParams) -> Progress:
    """What was told, as another engine takes it."""
    told = [joined(deltas, index) for index in range(params.n)]
    logprobs = [None if params.logprobs is None else each[2] or () for each in told]
    choices = tuple(ChoiceProgress(each[0], of) for each, of in zip(told, logprobs, strict=True))
    return Progress(choices, sum(len(delta.prompt_logprobs) for delta in deltas))


@pytest.mark.parametrize("load", LOADS)
def test_cut_at_every_place(make_engine: Callable[..., Made], load: str) -> None:
    params = SamplingParams(**{"max_tokens": 14, "ignore_eos": load != "a form", **LOADS[load]})
    first, second = make_engine().engine, make_engine().engine
    asked = request(first, params)
    undisturbed = news(first, asked)
    assert undisturbed[-1].finished
    for cut in range(len(undisturbed) + 1):
        before = undisturbed[:cut]
        after = news(second, replace(asked, resume=progress(before, params)))
        for index in range(params.n):
            told = joined([*before, *after], index)
            assert told == joined(undisturbed, index), f"cut after {cut} of {len(undisturbed)} news"
        assert after[-1].finished
        prompts = [sum((delta.prompt_logprobs for delta in told), ()) for told in ([*before, *after], undisturbed)]
        assert prompts[0] == prompts[1]
        second.check_integrity()
        second.reset_prefix_cache()


def test_a_stop_text_is_found_across_the_cut(make_engine: Callable[..., Made]) -> None:
    first, second = make_engine().engine, make_engine().engine
    params = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    free = joined(news(first, request(first, params)), 0)
    size = free[5][9]  # characters of the first ten tokens
    stopping = replace(params, stop=free[1][size - 3 : size + 3])
    undisturbed = news(first, request(first, stopping))
    assert joined(undisturbed, 0)[3:5] == ("stop", stopping.stop)
    for cut in range(len(undisturbed) + 1):
        before = undisturbed[:cut]
        after = news(second, replace(request(second, stopping), resume=progress(before, stopping)))
        assert joined([*before, *after], 0) == joined(undisturbed, 0)


def test_the_whole_output_has_what_came_before(make_engine: Callable[..., Made]) -> None:
    first, second = make_engine().engine, make_engine().engine
    params = SamplingParams(seed=5, logprobs=2, prompt_logprobs=1, max_tokens=10, ignore_eos=True)
    asked = request(first, params)
    undisturbed = news(first, asked)
    whole = first.add_request(asked)
    finish(first)
    resumed = second.add_request(replace(asked, resume=progress(undisturbed[:4], params)))
    finish(second)
    assert resumed.output().outputs == whole.output().outputs
    assert resumed.output().prompt_logprobs == whole.output().prompt_logprobs


def test_an_answer_that_is_whole_ends_at_once(make_engine: Callable[..., Made]) -> None:
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)

    async def run() -> list[Delta]:
        made = make_engine()
        async with AsyncLLM.over(lambda: made.engine) as llm:
            told = [delta async for delta in llm.stream("One two three", params)]
            whole = await llm.generate("One two three", params, resume=progress(told, params))
            assert whole.outputs[0].token_ids == list(joined(told, 0)[0])
            return [delta async for delta in llm.stream("One two three", params, resume=progress(told, params))]

    (last,) = asyncio.run(run())
    assert last.finished
    assert [(choice.token_ids, choice.text, choice.finish_reason) for choice in last.choices] == [((), "", "length")]


def test_the_prompt_alone_is_accounted_for() -> None:
    engine = fake_engine()
    asked = EngineRequest(pack_tokens(range(10)), SamplingParams(max_tokens=8))
    resumed = replace(asked, resume=Progress((ChoiceProgress((10, 11, 12)),)))
    generation = engine.add_request(resumed)
    finish(engine)
    assert generation.output().outputs[0].token_ids == list(range(10, 18))
    assert generation.account().computed == 10


FAULTS: list[tuple[dict[str, Any], Progress, str]] = [
    ({}, Progress(()), "resume has 0 continuations; n is 1"),
    ({"n": 2}, Progress((ChoiceProgress(),)), "resume has 1 continuations; n is 2"),
    ({}, Progress((ChoiceProgress((-1,)),)), "resume has the token -1"),
    ({}, Progress((ChoiceProgress((1,) * 9),)), "resume has 9 tokens of continuation 0; max_tokens is 8"),
    ({"logprobs": 1}, Progress((ChoiceProgress((1,)),)), "needs those of 1"),
    ({}, Progress((ChoiceProgress((1,), ({},)),)), "log-probabilities of 1 tokens"),
    ({"stop_token_ids": [5]}, Progress((ChoiceProgress((4, 5, 6)),)), "the answer ends with number 2"),
]


@pytest.mark.parametrize(("params", "resume", "told"), FAULTS)
def test_what_cannot_have_been_told_is_refused(params: dict[str, Any], resume: Progress, told: str) -> None:
    engine = fake_engine()
    asked = EngineRequest(pack_tokens(range(10)), SamplingParams(**{"max_tokens": 8, **params}), resume=resume)
    with pytest.raises(ParameterError, match=told):
        engine.add_request(asked)
    assert not engine.has_unfinished_requests()


def test_a_token_that_the_form_does_not_let_come_is_refused(make_engine: Callable[..., Made]) -> None:
    engine = make_engine().engine
    params = SamplingParams(seed=2, max_tokens=20, structured_outputs=StructuredOutputs(choice=["yes", "no"]))
    other = tuple(token_ids(engine, "else"))
    with pytest.raises(GrammarFailed):
        engine.add_request(replace(request(engine, params), resume=Progress((ChoiceProgress(other),))))
    assert not engine.has_unfinished_requests()
