"""Chat completions through the official SDK."""

import re
from typing import Any

import openai
import pytest

from foreword.cli.demo import markdown_table, questions
from server.fixtures import openai_client
from server.live import Live

SYSTEM = {"role": "system", "content": "You are a quick brown fox. " * 4}
USER = {"role": "user", "content": "Jump over the lazy dog."}
ASKED: dict[str, Any] = {"model": "tiny", "messages": [SYSTEM, USER], "temperature": 0, "max_tokens": 8}


def test_the_table_reader_answers_from_the_table_and_reads_it_once(table_reader: Live) -> None:
    table_reader.engine.reset_prefix_cache()
    table: Any = {"role": "system", "content": markdown_table()}
    cached: list[int] = []
    with openai_client(table_reader) as client:
        for question in questions()[:6]:
            plain = question.text.removeprefix("Question: ").partition(" Your answer")[0]
            answer = client.chat.completions.create(
                model="table-reader", messages=[table, {"role": "user", "content": plain}], temperature=0, max_tokens=30
            )
            assert answer.choices[0].message.content == question.answer
            usage: Any = answer.usage
            cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached[0] == 0
    assert min(cached[1:]) > 150


def test_usage_adds_up_on_a_miss_and_on_a_hit(client: openai.OpenAI) -> None:
    first, second = (client.chat.completions.create(**ASKED) for _ in range(2))
    for answer, cached in ((first, 0), (second, first.usage.prompt_tokens - 1)):
        usage = answer.usage
        assert usage.prompt_tokens_details.cached_tokens == cached
        assert usage.prompt_tokens_details.cache_write_tokens == usage.prompt_tokens - cached
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.completion_tokens == 8
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.choices[0].finish_reason == "length"
    assert first.id != second.id


@pytest.mark.parametrize("parts", [False, True])
def test_what_a_client_predicts_changes_the_usage_alone(table_reader: Live, parts: bool) -> None:
    question = next(each for each in questions() if "@" in each.answer)
    table: Any = {"role": "system", "content": markdown_table()}
    asked: dict[str, Any] = {
        "model": "table-reader",
        "messages": [
            table,
            {"role": "user", "content": question.text.removeprefix("Question: ").partition(" Your answer")[0]},
        ],
        "temperature": 0,
        "max_tokens": 30,
    }
    predicted: dict[str, Any] = {}
    for name, text in (("right", question.answer), ("wrong", "zzz zzz zzz zzz"), ("nothing", "")):
        content = [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}] if parts else text
        table_reader.engine.reset_prefix_cache()
        with openai_client(table_reader) as client:
            prediction: Any = {"type": "content", "content": content}
            answer = client.chat.completions.create(**asked, prediction=prediction)
        assert answer.choices[0].message.content == question.answer
        usage: Any = answer.usage
        predicted[name] = usage.completion_tokens_details
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert predicted["right"].accepted_prediction_tokens > 2
    assert predicted["wrong"].accepted_prediction_tokens == 0
    nothing = predicted["nothing"]
    assert (nothing.accepted_prediction_tokens, nothing.rejected_prediction_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("prediction", "named"),
    [
        ({"type": "content"}, "prediction.content"),
        ({"type": "image", "content": "x"}, "prediction.type"),
        ({"type": "content", "content": 3}, "prediction.content"),
        ({"type": "content", "content": [{"type": "text"}]}, "prediction.content.0.text: required"),
        ({"type": "content", "content": [{"type": "text", "text": 3}]}, "prediction.content.0.text: "),
    ],
)
def test_a_prediction_of_another_form_is_refused_by_its_name(live: Live, prediction: dict[str, Any], named: str) -> None:
    with live.client() as client:
        answer = client.post("/v1/chat/completions", json={**ASKED, "prediction": prediction})
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


def test_a_prediction_that_no_answer_can_be_is_refused(live: Live) -> None:
    with live.client() as client:
        answer = client.post(
            "/v1/chat/completions", json={**ASKED, "prediction": {"type": "content", "content": "z" * 10**6}}
        )
    assert answer.status_code == 400
    assert re.match("prediction has at least [0-9]+ tokens", answer.json()["error"]["message"])


def test_a_stream_adds_up_to_the_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED).choices[0].message.content
    chunks = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    *pieces, last = chunks
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert all(piece.usage is None for piece in pieces)
    assert last.choices == []
    assert last.usage.prompt_tokens_details.cached_tokens == last.usage.prompt_tokens - 1
    assert len({chunk.id for chunk in chunks}) == 1


def test_no_usage_in_a_stream_unless_asked_for(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**ASKED, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_n_choices_in_an_answer_and_in_a_stream(client: openai.OpenAI) -> None:
    asked = {**ASKED, "temperature": 1, "seed": 3, "n": 3}
    answer = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert answer.usage.completion_tokens == 24
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts, "the same seed gives the same text"


def test_a_stop_text_is_not_shown_and_not_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED).choices[0].message.content
    stop = whole[2:4]
    asked = {**ASKED, "stop": [stop]}
    choice = client.chat.completions.create(**asked).choices[0]
    assert (choice.message.content, choice.finish_reason) == (whole[: whole.index(stop)], "stop")
    streamed = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**asked, stream=True))
    assert streamed == whole[: whole.index(stop)]


def test_logprobs_have_the_chosen_token_and_the_likeliest(client: openai.OpenAI) -> None:
    for stream in (False, True):
        if stream:
            chunks = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2, stream=True)
            content = [entry for chunk in chunks for entry in chunk.choices[0].logprobs.content]
        else:
            content = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2).choices[0].logprobs.content
        assert len(content) == 8
        for entry in content:
            values = [top.logprob for top in entry.top_logprobs]
            assert values == sorted(values, reverse=True)
            assert entry.top_logprobs[0].token == entry.token, "greedy takes the likeliest"
            assert len(entry.top_logprobs) == 2
            assert bytes(entry.bytes).decode("utf-8", "replace") == entry.token


def test_logprobs_without_top_ones(client: openai.OpenAI) -> None:
    content = client.chat.completions.create(**ASKED, logprobs=True).choices[0].logprobs.content
    assert [entry.top_logprobs for entry in content] == [[]] * 8


def test_without_a_limit_an_answer_goes_on_to_the_end_of_the_context(client: openai.OpenAI, live: Live) -> None:
    long = {"role": "user", "content": "x" * 900}
    asked = {**ASKED, "messages": [SYSTEM, long], "max_tokens": None, "extra_body": {"ignore_eos": True}}
    usage = client.chat.completions.create(**asked).usage
    assert usage.total_tokens == live.engine.info.max_model_len


def test_messages_in_parts_and_tools_are_rendered(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    look = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}
    tools: Any = [{"type": "function", "function": look}]
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "dog"}'}}
    messages: list[Any] = [
        SYSTEM,
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "lazy"},
    ]
    answer = client.chat.completions.create(**{**ASKED, "messages": messages}, tools=tools, tool_choice="auto")
    assert answer.usage.prompt_tokens > 0


def test_an_answer_can_be_sent_back_as_it_came(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(**ASKED)
    again = [SYSTEM, USER, first.choices[0].message.model_dump(), {"role": "user", "content": "And?"}]
    second = client.chat.completions.create(**{**ASKED, "messages": again})
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens


def test_a_salt_narrows_sharing(client: openai.OpenAI) -> None:
    def cached(salt: str | None) -> int:
        extra = {} if salt is None else {"cache_salt": salt}
        usage = client.chat.completions.create(**ASKED, extra_body=extra).usage
        found: int = usage.prompt_tokens_details.cached_tokens
        return found

    assert [cached("a"), cached("b"), cached(None)] == [0, 0, 0]
    assert min(cached("a"), cached("b"), cached(None)) > 0


def test_cache_keys_of_one_tenant_share(client: openai.OpenAI) -> None:
    client.chat.completions.create(**ASKED, prompt_cache_key="a", prompt_cache_retention="24h")
    usage = client.chat.completions.create(**ASKED, prompt_cache_key="b", prompt_cache_retention="in_memory").usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_stream_options_are_for_streams(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="only for stream=true"):
        client.chat.completions.create(**ASKED, stream_options={"include_usage": True})


def test_explicit_mode_without_a_mark_neither_reads_nor_feeds_the_cache(client: openai.OpenAI) -> None:
    explicit: dict[str, Any] = {"prompt_cache_options": {"mode": "explicit"}}
    for _ in range(2):
        details = client.chat.completions.create(**ASKED, **explicit).usage.prompt_tokens_details
        assert (details.cached_tokens, details.cache_write_tokens) == (0, 0)
    assert client.chat.completions.create(**ASKED).usage.prompt_tokens_details.cached_tokens == 0
    assert client.chat.completions.create(**ASKED, **explicit).usage.prompt_tokens_details.cached_tokens == 0


def test_explicit_mode_with_a_mark_uses_the_cache(client: openai.OpenAI) -> None:
    part = {"type": "text", "text": SYSTEM["content"], "prompt_cache_breakpoint": {"mode": "explicit"}}
    asked = {**ASKED, "messages": [{"role": "system", "content": [part]}, USER]}
    explicit: dict[str, Any] = {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}
    client.chat.completions.create(**asked, **explicit)
    assert client.chat.completions.create(**asked, **explicit).usage.prompt_tokens_details.cached_tokens > 0


def test_prewarm_fills_the_cache_and_says_nothing(client: openai.OpenAI) -> None:
    extra = {"prompt_cache_options": {"prewarm": True}}
    warm = client.chat.completions.create(**ASKED, extra_body=extra)
    assert (warm.choices[0].message.content, warm.usage.completion_tokens) == ("", 0)
    usage = client.chat.completions.create(**ASKED).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_diagnostics_say_what_changed(client: openai.OpenAI) -> None:
    def ask(messages: list[Any], compare: str | None, **more: Any) -> Any:
        extra = {"prompt_cache_options": {"comparison_response_id": compare}}
        return client.chat.completions.create(**{**ASKED, "messages": messages, **more}, extra_body=extra)

    first = ask([SYSTEM, USER], None)
    assert not hasattr(first, "prompt_cache_diagnostics")
    goes_on = [SYSTEM, USER, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    assert ask(goes_on, first.id).prompt_cache_diagnostics == {"type": "cache_hit"}
    other = ask([SYSTEM, {"role": "user", "content": "Sleep."}], first.id).prompt_cache_diagnostics
    assert (other["type"], other["reason"]) == ("cache_miss", "input_changed")
    assert other["comparison_reusable_tokens"] > 0
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    assert ask([SYSTEM, USER], first.id, tools=tools).prompt_cache_diagnostics["reason"] == "tools_changed"
    assert ask([SYSTEM, USER], "chatcmpl-x").prompt_cache_diagnostics == {"type": "comparison_response_not_found"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "'other' is not served here; this server has 'tiny'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"n": 0}, "n is 0"),
        ({"n": 17}, "at most 16"),
        ({"top_logprobs": 2}, "needs logprobs=true"),
        ({"stream_options": {"include_usage": True, "more": 1}}, "more: unknown field"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user"}]}, "neither content nor tool_calls"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "message 0 (user): 'image' cannot be read by this model, which reads text",
        ),
        ({"extra_body": {"continue_final_message": True}}, "must be of the role 'assistant'"),
        ({"extra_body": {"continue_final_message": True, "add_generation_prompt": True}}, "leave one of them out"),
        ({"messages": [{"role": "user", "content": "x", "prefix": True}, USER]}, "only the last message"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"5": 1}}, "'logit_bias' is not served here"),
        ({"extra_body": {"temprature": 1}}, "Did you mean 'temperature'"),
        ({"messages": [{"role": "user", "content": "fox " * 2000}]}, "maximum context length is 1024 tokens"),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "text", "text": "", "prompt_cache_breakpoint": {"mode": "explicit"}}]}]},
            "empty text",
        ),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_and_the_next_one_works(
    client: openai.OpenAI, change: dict[str, Any], message: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**{**ASKED, "stream": stream, **change})
        told: Any = caught.value.body
        assert caught.value.status_code == (404 if "model" in change else 400)
        assert message in told["message"], told
        assert told["type"] == ("not_found_error" if "model" in change else "invalid_request_error")
    assert client.chat.completions.create(**ASKED).choices[0].message.content


OWN = ("add_generation_prompt", "tools", "messages", "self", "template", "now", "strftime_now", "tokenize", "chat_template")


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_what_the_server_says_to_the_template_is_no_variable_of_a_client(live: Live, name: str, marked: bool) -> None:
    part = {"type": "text", "text": "hi", **({"prompt_cache_breakpoint": {"mode": "explicit"}} if marked else {})}
    body = {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": [part]}]}
    values: list[Any] = ["x", None, [], 1]
    with live.client() as client:
        for value in values:
            answer = client.post("/v1/chat/completions", json={**body, "chat_template_kwargs": {name: value}})
            assert answer.status_code == 400
            assert name in answer.json()["error"]["message"]
        taken = client.post("/v1/chat/completions", json={**body, "chat_template_kwargs": {"enable_thinking": False}})
        assert taken.status_code == 200
        live.settle()
        assert client.get("/v1/cache/prefixes").status_code == 200
        assert client.get("/v1/cache/recent").status_code == 200


@pytest.mark.parametrize("how", ["continue_final_message", "prefix"])
def test_an_answer_that_has_begun_is_gone_on_with(client: openai.OpenAI, how: str) -> None:
    whole = client.chat.completions.create(**ASKED)
    begun = {"role": "assistant", "content": "quick", **({"prefix": True} if how == "prefix" else {})}
    more = {} if how == "prefix" else {"continue_final_message": True, "add_generation_prompt": False}
    rest = client.chat.completions.create(**{**ASKED, "messages": [SYSTEM, USER, begun]}, extra_body=more)
    asked, gone_on = whole.usage.prompt_tokens, rest.usage.prompt_tokens
    assert asked < gone_on <= asked + len("quick")  # nothing of a turn's end, nothing of a new one
    assert rest.usage.prompt_tokens_details.cached_tokens >= asked - 1
