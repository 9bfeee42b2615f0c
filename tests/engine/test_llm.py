"""LLM as people call it: what it answers, where it stops, what it refuses, and that nothing is left behind."""

import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
import torch
import transformers

from engine.checks import assert_settled
from engine.making import Made
from foreword.engine import LLM, EngineConfig, SamplingParams
from foreword.engine.llm import LLMOverEngine
from foreword.engine.options import EngineOptions
from foreword.engine.runner import Sampled, Step
from foreword.errors import ConfigError, ModelError, ParameterError, PromptError, Unavailable
from foreword.events import RequestFinished
from foreword.testing.tiny_models import write_model

GREEDY = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
PROMPT = {"prompt_token_ids": list(range(2, 50))}


def greedy(**params: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 0.0, "max_tokens": 8, "ignore_eos": True, **params})


@pytest.fixture
def llm(make_llm: Callable[..., LLM]) -> LLM:
    return make_llm()


@pytest.fixture(scope="module")
def plain(model_dir: Callable[..., str]) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(model_dir("llama"), attn_implementation="eager").eval()


def test_ends_at_max_tokens(llm: LLM) -> None:
    (output,) = llm.generate(PROMPT, GREEDY)
    answer = output.outputs[0]
    assert (len(answer.token_ids), answer.finish_reason, answer.stop_reason) == (8, "length", None)
    assert output.finished
    assert_settled(llm)


def test_max_tokens_0_computes_the_prompt_and_stops(llm: LLM) -> None:
    (warm,) = llm.generate(PROMPT, greedy(max_tokens=0))
    answer = warm.outputs[0]
    assert (answer.token_ids, answer.text, answer.finish_reason, warm.account.computed) == ([], "", "length", 48)
    later = llm.generate({"prompt_token_ids": [*PROMPT["prompt_token_ids"], 7]}, GREEDY)[0]
    assert later.account.cached == 48
    assert_settled(llm)


def test_prompts_to_warm_and_to_answer_run_in_one_step(llm: LLM) -> None:
    alone = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids
    llm.reset_prefix_cache()
    mixed = llm.generate([{"prompt_token_ids": [3, 4, 5]}, PROMPT], [greedy(max_tokens=0), GREEDY])
    assert [output.outputs[0].token_ids for output in mixed] == [[], alone]


def test_ends_at_a_stop_token(llm: LLM) -> None:
    tokens = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids
    third = tokens[2]
    answer = llm.generate(PROMPT, greedy(stop_token_ids=[third]))[0].outputs[0]
    assert answer.token_ids == tokens[: tokens.index(third) + 1]
    assert (answer.finish_reason, answer.stop_reason) == ("stop", third)


def test_ends_at_the_models_end_token_unless_ignored(llm: LLM, make_engine: Callable[..., Made]) -> None:
    tokens = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids
    assert llm.engine.info.end_token_ids == frozenset([1])
    parts = make_engine().parts
    info = replace(parts.info, end_token_ids=frozenset([tokens[1]]))
    ending = LLMOverEngine(replace(parts, info=info).engine())
    answer = ending.generate(PROMPT, greedy(ignore_eos=False))[0].outputs[0]
    assert answer.token_ids == tokens[: tokens.index(tokens[1]) + 1]
    assert (answer.finish_reason, answer.stop_reason) == ("stop", None)
    assert ending.generate(PROMPT, GREEDY)[0].outputs[0].token_ids == tokens
    later = ending.generate(PROMPT, greedy(ignore_eos=False, min_tokens=5))[0].outputs[0].token_ids
    assert len(later) > 5
    assert tokens[1] not in later[:5]


def test_ends_at_a_stop_text(llm: LLM) -> None:
    text = llm.generate(PROMPT, greedy(max_tokens=12))[0].outputs[0].text
    stop = text[3:6]
    place = text.index(stop)
    for keep, expected in ((False, text[:place]), (True, text[: place + len(stop)])):
        answer = llm.generate(PROMPT, greedy(max_tokens=12, stop=stop, include_stop_str_in_output=keep))[0].outputs[0]
        assert answer.text == expected
        assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)


def test_n_continuations_compute_the_prompt_once(make_engine: Callable[..., Made]) -> None:
    made, rows = make_engine(), []
    made.parts.runner.sinks.append(lambda step, _: rows.append(step.num_tokens))
    llm = LLMOverEngine(made.engine)
    (output,) = llm.generate(PROMPT, SamplingParams(n=3, seed=1, max_tokens=4, ignore_eos=True))
    assert [answer.index for answer in output.outputs] == [0, 1, 2]
    assert len({tuple(answer.token_ids) for answer in output.outputs}) > 1
    assert sum(rows) <= 48 + 2 + 3 * 3, "48 prompt tokens, its last one for each continuation, and three decodes each"
    assert_settled(llm)


def test_a_seed_repeats_in_any_company(llm: LLM) -> None:
    params = SamplingParams(seed=7, max_tokens=8, ignore_eos=True)
    alone = llm.generate(PROMPT, params)[0].outputs[0].token_ids
    others = [{"prompt_token_ids": [5, 6, 7]}, PROMPT, {"prompt_token_ids": [9] * 30}]
    together = llm.generate(others, [SamplingParams(max_tokens=8), params, GREEDY], use_tqdm=False)
    assert together[1].outputs[0].token_ids == alone


def test_logprobs_are_those_of_transformers(llm: LLM, plain: Any) -> None:
    """Of the prompt too, also when it is cached."""
    llm.generate(PROMPT, GREEDY)
    (output,) = llm.generate(PROMPT, greedy(logprobs=2, prompt_logprobs=1, max_tokens=4))
    answer, prompt = output.outputs[0], PROMPT["prompt_token_ids"]
    with torch.inference_mode():
        expected = plain(input_ids=torch.tensor([prompt + answer.token_ids])).logits[0].log_softmax(-1)
    assert output.num_cached_tokens == 0
    assert output.prompt_logprobs is not None
    assert output.prompt_logprobs[0] is None
    assert len(output.prompt_logprobs) == len(prompt)
    assert answer.logprobs is not None
    for position, entries in enumerate([*output.prompt_logprobs[1:], *answer.logprobs], start=1):
        assert entries is not None
        row, token = expected[position - 1], (prompt + answer.token_ids)[position]
        assert {token, int(row.argmax())} <= set(entries)
        for other, entry in entries.items():
            assert entry.logprob == pytest.approx(float(row[other]), abs=1e-4)
        assert entries[token].rank == int((row > row[token]).sum()) + 1
    assert answer.cumulative_logprob == pytest.approx(
        sum(entries[token].logprob for entries, token in zip(answer.logprobs, answer.token_ids, strict=True))
    )


def test_stream_adds_up_to_generate(llm: LLM) -> None:
    expected = llm.generate(PROMPT, GREEDY)[0].outputs[0]
    outputs = list(llm.stream(PROMPT, GREEDY))
    lengths = [len(output.outputs[0].token_ids) for output in outputs]
    assert lengths == sorted(set(lengths))  # a step may bring several
    assert (lengths[0], lengths[-1]) == (1, 8)
    assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
    texts = [output.outputs[0].text for output in outputs]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert outputs[-1].outputs[0] == expected


def test_leaving_a_stream_aborts_it(llm: LLM) -> None:
    for _ in llm.stream(PROMPT, GREEDY):
        break
    assert_settled(llm)


def test_streams_and_generate_may_take_turns(llm: LLM) -> None:
    """A request that ends while another call makes the steps is still told to its own stream."""
    expected = llm.generate([PROMPT, {"prompt_token_ids": [7] * 20}], GREEDY, use_tqdm=False)
    first, second = llm.stream(PROMPT, GREEDY), llm.stream({"prompt_token_ids": [7] * 20}, GREEDY)
    next(first), next(second)
    assert llm.generate(PROMPT, GREEDY)[0].outputs == expected[0].outputs
    assert [*first][-1].outputs == expected[0].outputs
    assert [*second][-1].outputs == expected[1].outputs
    assert_settled(llm)


def test_an_interrupt_leaves_nothing_behind(make_engine: Callable[..., Made]) -> None:
    """Of the call that was interrupted; an open stream goes on."""
    made = make_engine()
    llm = LLMOverEngine(made.engine)
    expected = llm.generate(PROMPT, GREEDY)[0].outputs
    stream = llm.stream(PROMPT, GREEDY)
    next(stream)

    def interrupted(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
        made.runner.hook = None
        run(step)
        raise KeyboardInterrupt

    made.runner.hook = interrupted
    with pytest.raises(KeyboardInterrupt):
        llm.generate([{"prompt_token_ids": [9] * 40}] * 3, GREEDY, use_tqdm=False)
    llm.engine.check_integrity()
    assert [*stream][-1].outputs == expected
    assert_settled(llm)


def test_salts_share_with_their_own_kind_only(llm: LLM) -> None:
    def cached(salt: str | None) -> int:
        return llm.generate({**PROMPT, "cache_salt": salt}, GREEDY)[0].num_cached_tokens

    assert [cached("a"), cached("b"), cached(None)] == [0, 0, 0]
    assert [cached("a"), cached("b"), cached(None)] == [47, 47, 47]


def test_what_is_said_of_a_conversation_reaches_the_engine(llm: LLM) -> None:
    seen: list[Any] = []
    llm.engine.subscribe(seen.append)
    messages = [{"role": "user", "content": "the fox"}]
    llm.generate({**PROMPT, "cache_conversation": "goes_on"}, GREEDY)
    [*llm.stream({**PROMPT, "cache_conversation": "ended"}, GREEDY)]
    llm.chat(messages, GREEDY, cache_conversation="ended")
    llm.chat([messages], GREEDY, cache_conversation="goes_on", use_tqdm=False)
    llm.chat(messages, GREEDY)
    said = [event.conversation for event in seen if isinstance(event, RequestFinished)]
    assert said == ["goes_on", "ended", "ended", "goes_on", None]
    with pytest.raises(PromptError, match="'cache_conversation' is 'on'"):
        llm.chat(messages, GREEDY, cache_conversation="on")


def test_reset_forgets(llm: LLM) -> None:
    llm.generate(PROMPT, GREEDY)
    llm.reset_prefix_cache()
    assert llm.generate(PROMPT, GREEDY)[0].num_cached_tokens == 0
    assert_settled(llm)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "The prompt is empty"),
        ({"prompt_token_ids": []}, "the prompt is empty"),
        ({"prompt_token_ids": [5, 320]}, "token id 320 is not in the vocabulary of 320"),
        ({"prompt_token_ids": [-1]}, "Token id -1"),
        ({"prompt_token_ids": [1.5]}, "list of integers"),
        ({"prompt_token_ids": 5}, "list of token ids, not int"),
        ({"prompt_token_ids": [5] * 1024}, "1024 tokens, but prompt and answer together may have 1024. Shorten it"),
        ({"prompt_token_ids": [5] * 1000}, "need .* blocks; the cache has 10.*Shorten the prompt, lower max_tokens"),
        ({"prompt": "a", "cache_salt": ""}, "'cache_salt' is ''; it must be a non-empty string"),
        ({"prompt": "a", "cache_salt": 5}, "'cache_salt' is 5"),
        ({"promt": "a"}, "Did you mean 'prompt'"),
        ({}, "needs 'prompt'"),
        (5, "not int"),
    ],
)
def test_bad_prompts_are_refused_and_their_neighbours_answered(
    make_llm: Callable[..., LLM], prompt: Any, message: str
) -> None:
    llm = make_llm(kv_cache_memory_bytes=10 * 16 * 3 * 2 * 32 * 4)
    outputs = llm.generate([PROMPT, prompt, PROMPT], GREEDY, use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, False, True]
    assert outputs[0].outputs == outputs[2].outputs
    assert isinstance(outputs[1].error, PromptError)
    with pytest.raises(PromptError, match=message):
        raise outputs[1].error
    assert_settled(llm)


def test_bad_parameters_are_refused(llm: LLM) -> None:
    for params, message in (
        (greedy(stop_token_ids=[999]), "stop_token_ids has 999"),
        (greedy(logprobs=999), "logprobs is 999; the vocabulary has 320"),
    ):
        with pytest.raises(ParameterError, match=message):
            llm.generate(PROMPT, params)
    with pytest.raises(ParameterError, match="2 sampling_params for 1 prompts"):
        llm.generate(PROMPT, [GREEDY, GREEDY])
    assert_settled(llm)


def test_unknown_options_are_refused_with_the_nearest_name(model_dir: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=r"Unknown option of LLM 'max_num_seq'. Did you mean 'max_num_seqs'\?"):
        LLM(model_dir("llama"), max_num_seq=3)  # type: ignore[call-arg]


def test_chat_needs_a_template(tmp_path: Any, llm: LLM) -> None:
    messages = [{"role": "user", "content": "the fox"}]
    (output,) = llm.chat(messages, GREEDY)
    assert output.prompt == "<user>the fox\n<assistant>"
    model = write_model(tmp_path, "llama", num_hidden_layers=1)
    (model / "chat_template.jinja").unlink()
    bare = LLM(str(model), kv_cache_memory_bytes=2**20, self_test=False)
    with pytest.raises(ModelError, match="has no chat template; use generate"):
        bare.chat(messages)


def test_a_rendered_conversation_is_a_prompt(llm: LLM) -> None:
    messages = [{"role": "user", "content": "the fox"}]
    prompt = llm.render_chat(messages)
    assert llm.generate(prompt, GREEDY)[0].outputs == llm.chat(messages, GREEDY)[0].outputs
    assert [*llm.stream(prompt, GREEDY)][-1].outputs == llm.chat(messages, GREEDY)[0].outputs


@pytest.mark.parametrize("given", [{"max_tokens": 4}, {}, "greedy", 4, [{"max_tokens": 4}], [None, 4]])
def test_parameters_that_are_none_are_refused_with_the_way_out(llm: LLM, given: Any) -> None:
    prompts: Any = [PROMPT] * len(given) if isinstance(given, list) else PROMPT
    with pytest.raises(ParameterError, match=r"sampling_params.*(give SamplingParams\(|for 1 prompts)"):
        llm.generate(prompts, given)
    with pytest.raises(ParameterError, match=r"give SamplingParams\("):
        next(llm.stream(PROMPT, given))


def test_the_recommended_parameters_are_there_to_be_taken(make_engine: Callable[..., Made]) -> None:
    parts = make_engine().parts
    advised = replace(parts, info=replace(parts.info, default_sampling=SamplingParams(top_k=5)))
    assert LLMOverEngine(advised.engine()).get_default_sampling_params() == SamplingParams(top_k=5)


def test_closed_it_says_so(make_llm: Callable[..., LLM]) -> None:
    with make_llm() as llm:
        stream = llm.stream(PROMPT, GREEDY)
        next(stream)
    llm.close()
    with pytest.raises(Unavailable, match="This LLM has been closed; make another one"):
        llm.generate(PROMPT)
    with pytest.raises(Unavailable, match="closed"):
        next(stream)
    with pytest.raises(Unavailable, match="closed"):
        llm.engine.verify_report()


def test_the_options_that_editors_know_are_those_of_the_config() -> None:
    declared, known = get_type_hints(EngineConfig), get_type_hints(EngineOptions)
    assert known == {field.name: declared[field.name] for field in fields(EngineConfig) if field.name != "model"}
