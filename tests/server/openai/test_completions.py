"""Completions through the official SDK."""

from typing import Any

import openai
import pytest

from foreword.cli.demo import markdown_table, questions
from server.fixtures import openai_client
from server.live import Live

PROMPT = "the quick brown fox jumps over the lazy dog"
ASKED: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 6}


def test_the_table_reader_answers(table_reader: Live) -> None:
    question = questions()[7]
    with openai_client(table_reader) as client:
        answer = client.completions.create(model="table-reader", prompt=markdown_table() + question.text, temperature=0)
    assert answer.choices[0].text.strip() == question.answer
    assert answer.choices[0].finish_reason == "stop"


def test_usage_adds_up_on_a_miss_and_on_a_hit(client: openai.OpenAI) -> None:
    first, second = (client.completions.create(**ASKED) for _ in range(2))
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens == first.usage.prompt_tokens - 1
    assert second.usage.prompt_tokens_details.cache_write_tokens == 1
    assert first.choices[0].text == second.choices[0].text


def test_a_stream_adds_up_to_the_answer(client: openai.OpenAI) -> None:
    whole = client.completions.create(**ASKED).choices[0].text
    *pieces, last = client.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    assert "".join(piece.choices[0].text for piece in pieces) == whole
    assert pieces[-1].choices[0].finish_reason == "length"
    assert (last.choices, last.usage.prompt_tokens_details.cached_tokens) == ([], last.usage.prompt_tokens - 1)


@pytest.mark.parametrize("form", ["texts", "ids"])
def test_several_prompts_have_their_choices_in_order(client: openai.OpenAI, live: Live, form: str) -> None:
    prompts: list[Any] = [PROMPT, "lazy dog", "fox fox"]
    encode = live.encode
    alone = [client.completions.create(**{**ASKED, "prompt": prompt}).choices[0].text for prompt in prompts]
    given = prompts if form == "texts" else [encode(prompt) for prompt in prompts]
    answer = client.completions.create(**{**ASKED, "prompt": given, "n": 2})
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert [choice.text for choice in answer.choices] == [text for text in alone for _ in range(2)]
    assert answer.usage.prompt_tokens == sum(len(encode(prompt)) for prompt in prompts)
    streamed = [""] * 6
    for chunk in client.completions.create(**{**ASKED, "prompt": given, "n": 2, "stream": True}):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in answer.choices]


def test_echo_repeats_the_prompt(client: openai.OpenAI, live: Live) -> None:
    whole = client.completions.create(**ASKED).choices[0].text
    for prompt in (PROMPT, live.encode(PROMPT)):
        asked = {**ASKED, "prompt": prompt, "echo": True}
        assert client.completions.create(**asked).choices[0].text == PROMPT + whole
        assert "".join(c.choices[0].text for c in client.completions.create(**asked, stream=True)) == PROMPT + whole


def test_logprobs(client: openai.OpenAI) -> None:
    choice = client.completions.create(**ASKED, logprobs=2).choices[0]
    told = choice.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 6
    assert "".join(told.tokens) == choice.text
    assert told.text_offset == [len("".join(told.tokens[:at])) for at in range(6)]
    for token, value, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(top) in (1, 2), "tokens with the same text have one entry, the likelier's"
        assert top[token] == value == max(top.values())


LIKELIHOOD: dict[str, Any] = {"model": "tiny", "temperature": 0, "seed": 1234, "logprobs": 1, "echo": True}
"""As an evaluation harness asks how likely an ending is."""


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_the_likelihood_of_a_prompt(client: openai.OpenAI, live: Live, max_tokens: int, stream: bool) -> None:
    """Token by token what the next token would have had, had the prompt ended there; and its text behind it."""
    ids = live.encode(PROMPT)[:12]
    asked = {**LIKELIHOOD, "max_tokens": max_tokens, "prompt": [ids]}
    told: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    text = ""
    for answer in client.completions.create(**asked, stream=True) if stream else [client.completions.create(**asked)]:
        (choice,) = answer.choices
        text += choice.text
        for name, values in told.items():
            values.extend(getattr(choice.logprobs, name))
    assert len(told["tokens"]) == len(ids) + max_tokens
    assert "".join(told["tokens"]) == text
    assert text.startswith(live.engine.text.tokenizer.decode(ids))
    assert told["text_offset"] == [len("".join(told["tokens"][:at])) for at in range(len(ids) + max_tokens)]
    assert (told["token_logprobs"][0], told["top_logprobs"][0]) == (None, None)
    for at in range(1, len(ids)):
        alone = (
            client.completions.create(**{**ASKED, "prompt": ids[:at], "max_tokens": 1, "logprobs": 1}).choices[0].logprobs
        )
        assert told["top_logprobs"][at] == alone.top_logprobs[0]
        assert told["token_logprobs"][at] <= alone.token_logprobs[0]
        assert (told["token_logprobs"][at] == alone.token_logprobs[0]) == (told["tokens"][at] == alone.tokens[0])


def test_every_choice_and_every_prompt_begins_with_its_own(client: openai.OpenAI, live: Live) -> None:
    """The first continuation computes the whole prompt, the others may be there before it."""
    prompts = [live.encode(PROMPT * 8), live.encode("fox")]
    asked = {**LIKELIHOOD, "prompt": prompts, "n": 3, "max_tokens": 2}
    client.completions.create(**{**ASKED, "prompt": prompts})
    whole = client.completions.create(**asked)
    streamed: dict[int, list[str]] = {}
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed.setdefault(choice.index, []).extend(choice.logprobs.tokens)
    for place, choice in enumerate(whole.choices):
        assert len(choice.logprobs.tokens) == len(prompts[place // 3]) + 2
        assert streamed[place] == choice.logprobs.tokens


def test_a_prompt_of_one_token_has_nothing_to_tell(client: openai.OpenAI, live: Live) -> None:
    told = client.completions.create(**{**LIKELIHOOD, "prompt": [live.encode("f")[:1]], "max_tokens": 0}).choices[0].logprobs
    assert (told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset) == (["f"], [None], [None], [0])


def test_likelihoods_read_nothing_from_the_cache(client: openai.OpenAI) -> None:
    """The logits of the whole prompt must be computed."""
    asked = {**LIKELIHOOD, "prompt": PROMPT, "max_tokens": 0}
    for _ in range(2):
        usage = client.completions.create(**asked).usage
        assert usage.prompt_tokens_details.cached_tokens == 0


def test_tokens_by_their_numbers(client: openai.OpenAI, live: Live) -> None:
    more = {"return_tokens_as_token_ids": True, "prompt_logprobs": 2}
    asked = {**LIKELIHOOD, "prompt": PROMPT, "max_tokens": 1, "logprobs": 0, "extra_body": more}
    choice = client.completions.create(**asked).choices[0]
    ids = live.encode(PROMPT)
    assert choice.logprobs.tokens[:-1] == [f"token_id:{token}" for token in ids]
    assert choice.logprobs.top_logprobs[1:] == [{}] * len(ids)
    first, *others = choice.model_extra["prompt_logprobs"]
    assert first is None
    for token, entries, value in zip(ids[1:], others, choice.logprobs.token_logprobs[1:], strict=False):
        assert 2 <= len(entries) <= 3
        assert entries[str(token)]["logprob"] == value
        assert sorted(entry["rank"] for entry in entries.values())[:2] == [1, 2]


def test_prompt_logprobs_come_with_a_whole_answer(client: openai.OpenAI) -> None:
    more: dict[str, Any] = {"extra_body": {"prompt_logprobs": 1}}
    chat: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **more}
    with pytest.raises(openai.BadRequestError, match="whole answer"):
        client.completions.create(**ASKED, stream=True, **more)
    with pytest.raises(openai.BadRequestError, match="whole answer"):
        client.chat.completions.create(**chat, stream=True)
    answer = client.chat.completions.create(**chat)
    assert len(answer.model_extra["prompt_logprobs"]) == answer.usage.prompt_tokens


def test_the_default_limit_is_16_tokens(client: openai.OpenAI) -> None:
    usage = client.completions.create(model="tiny", prompt=PROMPT, extra_body={"ignore_eos": True}).usage
    assert usage is not None
    assert usage.completion_tokens == 16


def test_prewarm(client: openai.OpenAI) -> None:
    warm = client.completions.create(**ASKED, extra_body={"prompt_cache_options": {"prewarm": True}})
    assert (warm.choices[0].text, warm.usage.completion_tokens) == ("", 0)
    usage = client.completions.create(**ASKED).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": []}, "empty list"),
        ({"prompt": [[]]}, "empty"),
        ({"prompt": [5, 10**6]}, "not in the vocabulary"),
        ({"prompt": [-5]}, "-5"),
        ({"extra_body": {"prompt": [5] * 900_000, "echo": True}}, "900000 tokens"),
        ({"prompt": [[5], [5] * 900_000]}, "900000 tokens"),
        ({"prompt": [5, "x"]}, "prompt"),
        ({"prompt": [[5], 5]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"] * 17}, "takes 16"),
        ({"extra_body": {"prompt_logprobs": 21}}, "prompt_logprobs"),
        ({"extra_body": {"prompt_logprobs": -1}}, "prompt_logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"suffix": "x"}, "'suffix' is not served here"),
        ({"prompt": {"text": "x"}}, "prompt"),
    ],
)
def test_bad_requests_are_refused_and_the_next_one_works(
    client: openai.OpenAI, change: dict[str, Any], message: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**{**ASKED, "stream": stream, **change})
        told: Any = caught.value.body
        assert message in told["message"], told
    assert client.completions.create(**ASKED).choices[0].text
