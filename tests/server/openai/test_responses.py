"""Responses and models through the official SDK."""

import itertools
from typing import Any

import openai
import pytest

from foreword.cli.demo import markdown_table, questions
from foreword.engine.runner import Step
from server.fixtures import openai_client
from server.live import Live

ASKED: dict[str, Any] = {
    "model": "tiny",
    "instructions": "You are a quick brown fox. " * 4,
    "input": "Jump over the lazy dog.",
    "temperature": 0,
    "max_output_tokens": 8,
}


def test_usage_on_a_miss_and_on_a_hit(client: openai.OpenAI) -> None:
    first, second = (client.responses.create(**ASKED) for _ in range(2))
    assert first.usage.input_tokens_details.cached_tokens == 0
    assert first.usage.input_tokens_details.cache_write_tokens == first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens == first.usage.input_tokens - 1
    assert second.usage.total_tokens == second.usage.input_tokens + 8
    assert first.output_text == second.output_text != ""
    assert (first.status, first.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_sampling_parameters_are_those_of_chat_completions(client: openai.OpenAI) -> None:
    said = {"seed": 3, "stop": ["zz"], "presence_penalty": 0.5, "top_k": 3, "min_tokens": 2, "ignore_eos": True}
    answer = client.responses.create(**{**ASKED, "temperature": 1}, extra_body=said)
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "system", "content": ASKED["instructions"]}, {"role": "user", "content": ASKED["input"]}],
        max_tokens=8,
        extra_body=said,
    )
    assert answer.output_text == chat.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="top_k is -5"):
        client.responses.create(**ASKED, extra_body={"top_k": -5})


def test_a_prompt_can_be_counted_before_it_is_answered(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
    first = client.responses.create(**ASKED, tools=[tool])
    later = {"model": "tiny", "input": "Again.", "previous_response_id": first.id}
    said = {name: ASKED[name] for name in ("model", "instructions", "input")}
    assert client.responses.input_tokens.count(**said, tools=[tool]).input_tokens == first.usage.input_tokens
    counted = client.responses.input_tokens.count(**later)
    assert (counted.object, counted.input_tokens) == (
        "response.input_tokens",
        client.responses.create(**later, max_output_tokens=1).usage.input_tokens,
    )


def test_a_stream_tells_the_same_in_order(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ASKED)
    events = list(client.responses.create(**ASKED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    last = events[-1].response
    assert last.output_text == whole.output_text
    assert last.usage.input_tokens_details.cached_tokens == last.usage.input_tokens - 1


def test_an_error_in_a_stream_is_its_last_event(live: Live, client: openai.OpenAI) -> None:
    steps = itertools.count(1)

    def fail_third(_: Step) -> None:
        if next(steps) == 3:
            raise RuntimeError("broken")

    with live.before_steps(fail_third):
        *before, last = client.responses.create(**ASKED, stream=True)
    assert (last.type, last.response.status, last.response.error.code) == ("response.failed", "failed", "server_error")
    assert "RuntimeError" in last.response.error.message
    assert "broken" not in last.response.error.message
    assert last.sequence_number == len(before)
    assert [event.type for event in before][:2] == ["response.created", "response.in_progress"]
    assert client.responses.create(**ASKED).output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)


def test_a_form_that_fails_within_a_stream_is_named(live: Live, client: openai.OpenAI) -> None:
    """The model is made to write what its form forbids: the rules raise in the middle of the answer."""
    form: Any = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    asked: Any = {**ASKED, "max_output_tokens": 50, "text": {"format": form}}
    with live.model_says('{"a": nix'):
        *_, last = client.responses.create(**asked, stream=True)
        with pytest.raises(openai.InternalServerError) as whole:
            client.responses.create(**asked)
    assert (last.type, last.response.error.code) == ("response.failed", "grammar_failed")
    assert "form of the answer" in last.response.error.message
    assert whole.value.code == "grammar_failed"
    assert client.responses.create(**ASKED).output_text


def test_a_stream_whose_input_is_too_long_says_so_where_codex_looks(client: openai.OpenAI) -> None:
    """Codex compacts when ``response.failed`` has this code; of an answer of status 400 it reads the text alone."""
    long: dict[str, Any] = {**ASKED, "input": "the quick brown fox " * 400}
    first, last = client.responses.create(**long, stream=True)
    assert (first.type, last.type) == ("response.created", "response.failed")
    assert last.response.error.code == "context_length_exceeded"
    assert "maximum context length" in last.response.error.message
    with pytest.raises(openai.BadRequestError) as whole:
        client.responses.create(**long)
    assert whole.value.code == "context_length_exceeded"
    assert client.responses.create(**ASKED).output_text


def test_the_sdks_own_stream_helper_understands_it(table_reader: Live) -> None:
    question = questions()[3]
    asked: Any = {"model": "table-reader", "instructions": markdown_table(), "input": question.text, "temperature": 0}
    with openai_client(table_reader) as client, client.responses.stream(**asked) as stream:
        final = stream.get_final_response()
    assert (final.output_text.strip(), final.status) == (question.answer, "completed")


def test_a_response_can_be_gone_on_from(client: openai.OpenAI) -> None:
    first = client.responses.create(**ASKED)
    second = client.responses.create(**{**ASKED, "input": "And?"}, previous_response_id=first.id)
    written_out: list[Any] = [
        {"role": "user", "content": ASKED["input"]},
        *[item.model_dump() for item in first.output],
        {"role": "user", "content": "And?"},
    ]
    same = client.responses.create(**{**ASKED, "input": written_out})
    assert second.usage.input_tokens == same.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens
    assert second.output_text == same.output_text


def test_responses_can_be_read_and_forgotten(client: openai.OpenAI) -> None:
    first = client.responses.create(**ASKED, metadata={"a": "b"})
    assert client.responses.retrieve(first.id) == first
    with pytest.raises(openai.BadRequestError, match="comes in one piece"):
        client.responses.retrieve(first.id, stream=True)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="is not here"):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError, match="is not here"):
        client.responses.create(**ASKED, previous_response_id=first.id)
    unstored = client.responses.create(**ASKED, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unstored.id)


def test_diagnostics(client: openai.OpenAI) -> None:
    def diagnostics(compare: str, **changed: Any) -> Any:
        options: Any = {"comparison_response_id": compare}
        return client.responses.create(**{**ASKED, **changed}, prompt_cache_options=options).prompt_cache_diagnostics

    first = client.responses.create(**ASKED)
    assert diagnostics(first.id).type == "cache_hit"
    changed = diagnostics(first.id, instructions="You are a lazy dog.")
    assert (changed.type, changed.reason) == ("cache_miss", "input_changed")
    assert changed.cache_missed_tokens > 0
    tools = [{"type": "function", "name": "look", "parameters": {}}]
    assert diagnostics(first.id, tools=tools).reason == "tools_changed"
    assert diagnostics("resp_x").type == "comparison_response_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_an_item_and_can_be_gone_on_from(live: Live, client: openai.OpenAI, stream: bool) -> None:
    call = '<tool_call>{"name": "look", "arguments": {"at": "dog"}}</tool_call>'
    asked: Any = {**ASKED, "tools": [{"type": "function", "name": "look", "parameters": {}}], "max_output_tokens": 200}
    with live.model_says(call):
        if stream:
            *_, last = client.responses.create(**asked, stream=True)
            first = last.response
        else:
            first = client.responses.create(**asked)
        assert client.responses.create(**asked, tool_choice="none").output_text == call
    (item,) = first.output
    assert (item.type, item.name, item.arguments, first.status) == ("function_call", "look", '{"at": "dog"}', "completed")
    result: Any = {"type": "function_call_output", "call_id": item.call_id, "output": "It is lazy."}
    second = client.responses.create(**{**asked, "input": [result]}, previous_response_id=first.id)
    written_out: Any = [{"role": "user", "content": ASKED["input"]}, item, result]
    same = client.responses.create(**{**asked, "input": written_out})
    assert second.usage.input_tokens == same.usage.input_tokens
    assert second.output_text == same.output_text


def test_a_stream_of_many_pieces_has_the_diagnostics_at_its_end(client: openai.OpenAI) -> None:
    first = client.responses.create(**ASKED)
    options: Any = {"comparison_response_id": first.id}
    *_, last = client.responses.create(**ASKED, prompt_cache_options=options, stream=True)
    assert last.response.prompt_cache_diagnostics.type == "cache_hit"


def test_prewarm_says_nothing_and_fills_the_cache(client: openai.OpenAI) -> None:
    options: Any = {"prewarm": True, "ttl": "12h"}
    warm = client.responses.create(**ASKED, prompt_cache_options=options)
    assert (warm.status, warm.output, warm.usage.output_tokens) == ("completed", [], 0)
    details = client.responses.create(**ASKED).usage.input_tokens_details
    assert details.cache_write_tokens == 1


def test_breakpoints_and_tools_and_calls_are_taken(client: openai.OpenAI) -> None:
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "dog"},
    ]
    assert client.responses.create(**{**ASKED, "input": items}).usage.input_tokens > 0


def test_logprobs(client: openai.OpenAI) -> None:
    part: Any = client.responses.create(**ASKED, top_logprobs=2).output[0].content[0]
    assert [len(entry.top_logprobs) for entry in part.logprobs] == [2] * 8


def test_logprobs_are_told_where_they_are_asked_for(client: openai.OpenAI) -> None:
    """Agents include encrypted reasoning in every request, and ask for no log-probabilities with it."""
    for include, count in (("reasoning.encrypted_content", 0), ("message.output_text.logprobs", 8)):
        asked: dict[str, Any] = {**ASKED, "include": [include]}
        part: Any = client.responses.create(**asked).output[0].content[0]
        assert len(part.logprobs) == count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input"),
        ({"background": True}, "'background' is not served here"),
        ({"text": {"format": {"type": "xml"}}}, "text"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_bad_requests_are_refused_and_the_next_one_works(
    client: openai.OpenAI, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{**ASKED, **change})
    told: Any = caught.value.body
    assert message in told["message"], told
    assert client.responses.create(**ASKED).output_text


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="'other' is not served here"):
        client.models.retrieve("other")
    assert client.models.list().data[0].owned_by == "foreword"
