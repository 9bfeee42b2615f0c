"""Each field of the vendors' APIs is decided: honoured, taken, or refused with the way out."""

import json
import sys
from typing import Any

import pytest
from anthropic.types import message_count_tokens_params as count_params
from anthropic.types import message_create_params as message_params
from anthropic.types.beta import message_create_params as beta_params
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as response_params
from pydantic import ValidationError

from foreword.server.anthropic.schema import CountTokensBody, MessagesBody
from foreword.server.body import UNKNOWN, TopBody
from foreword.server.openai.errors import describe_fault
from foreword.server.openai.formats import FlatSchemaFormat, JsonSchemaFormat
from foreword.server.openai.responses_schema import ResponseBody
from foreword.server.openai.schema import ChatBody, CompletionBody
from server.live import Live

ENDPOINTS: list[tuple[type[TopBody], Any]] = [
    (ChatBody, chat_params.CompletionCreateParamsBase),
    (CompletionBody, completion_params.CompletionCreateParamsBase),
    (ResponseBody, response_params.ResponseCreateParamsBase),
    (MessagesBody, message_params.MessageCreateParamsBase),
    (MessagesBody, beta_params.MessageCreateParamsBase),
    (CountTokensBody, count_params.MessageCountTokensParams),
]
USER = [{"role": "user", "content": "hi"}]
CHAT = {"model": "tiny", "messages": USER, "max_tokens": 1}
RESPONSE = {"model": "tiny", "input": "hi", "max_output_tokens": 2}
MESSAGE = {"model": "tiny", "max_tokens": 2, "messages": USER}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(("body", "sdk"), ENDPOINTS)
def test_every_field_of_the_sdk_is_decided(body: type[TopBody], sdk: Any) -> None:
    known = {*body.model_fields, *(path.split(".")[0] for path in body.table.taken), *body.table.refused}
    assert set(sdk.__annotations__) - known == set()


@pytest.mark.parametrize("body", list(dict.fromkeys(body for body, _ in ENDPOINTS)))
def test_a_field_is_decided_once(body: type[TopBody]) -> None:
    taken = {path for path in body.table.taken if "." not in path}
    assert not taken & set(body.model_fields)
    assert not taken & set(body.table.refused)
    assert set(body.table.nothing).isdisjoint(body.model_fields)


def in_json(body: dict[str, Any]) -> str:
    """A body as JSON, whatever digits its numbers have."""
    sys.set_int_max_str_digits(10_000)
    try:
        return json.dumps(body)
    finally:
        sys.set_int_max_str_digits(4300)


def each(path: str, body: dict[str, Any], *fields: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [(path, body, more) for more in fields]


TAKEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *each(
        "/v1/messages",
        MESSAGE,
        {"thinking": {"type": "adaptive", "budget_tokens": 0}},
        {"output_config": {"effort": "high"}},
        {"context_management": {"edits": []}},
        {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "scope": "global"}}]},
        {"tools": [{"name": "Read", "input_schema": {}, "eager_input_streaming": True, "defer_loading": True}]},
        {"tools": [{"name": "R", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]},
        {"system": None, "stop_sequences": None, "tools": None, "temperature": None, "stream": None},
        {"mcp_servers": [], "container": None, "metadata": {"user_id": "u"}, "service_tier": "standard_only"},
        {"speed": "fast", "inference_geo": "eu", "betas": ["x"]},
        {
            "messages": [
                *USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "s"},
                        {"type": "redacted_thinking", "data": "abc"},
                        {"type": "text", "text": "ok", "citations": []},
                    ],
                },
                {"role": "user", "content": "go on"},
            ]
        },
    ),
    *each(
        "/v1/messages/count_tokens",
        {"model": "tiny", "messages": USER},
        {"messages": [*USER, {"role": "assistant", "content": "{"}]},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"}, "max_tokens": 5},
    ),
    *each(
        "/v1/responses",
        RESPONSE,
        {"client_metadata": {"x": "y"}, "service_tier": "flex", "metadata": {"n": 5}},
        {"include": ["reasoning.encrypted_content", "web_search_call.results"]},
        {"reasoning": None},
        {"reasoning": {"effort": "low", "summary": "auto", "context": "all_turns"}},
        {"text": {"verbosity": "low"}, "truncation": "auto", "max_tool_calls": 3, "background": False},
        {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
        {"tools": [{"type": "function", "name": "shell"}, {"type": "custom", "name": "p"}, {"type": "web_search"}]},
        {"tools": [{"type": "local_shell"}], "stream_options": {"include_obfuscation": True}},
        {
            "input": [
                {"role": "user", "content": "hi"},
                {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "gAAAA", "status": None},
                {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search"}},
                {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "***"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
                {"type": "message", "role": "assistant", "phase": "final_answer", "content": "ok"},
                {"role": "user", "content": [{"type": "input_text", "text": "go on"}]},
            ]
        },
    ),
    *each(
        "/v1/chat/completions",
        CHAT,
        {"reasoning_effort": "low", "verbosity": "low", "service_tier": "priority", "store": True},
        {"metadata": {"a": "b"}, "user": "u"},
        {"logit_bias": {}, "functions": None, "best_of": 1, "stop": "", "top_p": 0, "audio": None},
        {"stream_options": None, "modalities": ["text"], "web_search_options": {"search_context_size": "low"}},
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}, {"type": "custom", "custom": {}}]},
        {"cache_prompt": True, "provider": {"order": ["x"]}, "priority": 1},
        {
            "messages": [
                *USER,
                {
                    "role": "assistant",
                    "content": None,
                    "refusal": "",
                    "provider_specific_fields": {"a": 1},
                    "tool_calls": [
                        {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r", "cache_control": {}}]},
            ]
        },
    ),
    ("/v1/completions", {"model": "tiny", "prompt": "hi", "max_tokens": 1}, {"user": "u", "logit_bias": None, "suffix": ""}),
]


@pytest.mark.parametrize(("path", "body", "fields"), TAKEN)
def test_what_cannot_change_an_answer_is_taken(live: Live, path: str, body: dict[str, Any], fields: dict[str, Any]) -> None:
    with live.client() as client:
        answer = client.post(path, json={**body, **fields})
    assert answer.status_code == 200, answer.text


LLAMA = [
    {"repeat_last_n": 64, "repeat_penalty": 1.0},
    {"repeat_last_n": 64},
    {"mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1},
    {"dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_sequence_breakers": ["x"]},
    {
        "logit_bias": {"5": 0},
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "dynatemp_range": 0,
        "dynatemp_exponent": 1.0,
        "top_n_sigma": -1,
    },
]


@pytest.mark.parametrize("fields", LLAMA)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_field_beside_one_that_changes_nothing_is_taken(live: Live, path: str, fields: dict[str, Any]) -> None:
    body: dict[str, Any] = {"messages": USER} if "chat" in path else {"prompt": "hi"}
    with live.client() as client:
        answer = client.post(path, json={"model": "tiny", "max_tokens": 1, **body, **fields})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"repeat_last_n": 64, "repeat_penalty": 1.1},
        {"repeat_last_n": 64, "presence_penalty": 0.5},
        {"mirostat": 2, "mirostat_tau": 5.0},
        {"xtc_probability": 0.5, "xtc_threshold": 0.1},
    ],
)
def test_beside_one_that_would_change_the_answer_it_is_refused(live: Live, fields: dict[str, Any]) -> None:
    with live.client() as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, **fields})
    assert answer.status_code == 400
    assert any(name in answer.json()["error"]["message"] for name in fields)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": 5}}},
            "response_format.json_schema.schema: ",
        ),
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "json_schema"}},
            "response_format.json_schema: required",
        ),
        (
            "/v1/chat/completions",
            {**CHAT, "tool_choice": {"type": "function", "function": {"name": 3}}},
            "tool_choice.function.name: ",
        ),
        (
            "/v1/responses",
            {**RESPONSE, "text": {"format": {"type": "json_schema", "name": "n", "schema": 5}}},
            "text.format.schema: ",
        ),
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": False}}},
            "no JSON is valid by it",
        ),
        ("/v1/chat/completions", {**CHAT, "logit_bias": {"5": 0, "7": 1}}, "'logit_bias' is not served"),
        ("/v1/chat/completions", {**CHAT, "chat_template_kwargs": {"namespace": 3}}, "namespace"),
        ("/v1/chat/completions", {**CHAT, "seed": 10**5000}, "4,300 digits"),
        ("/v1/messages", {**MESSAGE, "top_k": 10**5000}, "4,300 digits"),
    ],
    ids=[
        *("chat schema", "no schema", "tool choice", "responses schema", "false", "bias", "template's own"),
        *("5,000 digits", "5,000 digits, messages"),
    ],
)
def test_errors_name_the_place_as_the_client_wrote_it(live: Live, path: str, body: dict[str, Any], says: str) -> None:
    with live.client() as client:
        content = in_json(body)
        answer = client.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["error"]["message"]
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": True}}}),
        ("/v1/chat/completions", {"guided_json": True}),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": True}}}),
        ("/v1/messages", {"output_config": {"format": {"type": "json_schema", "schema": True}}}),
    ],
)
def test_true_is_a_schema(live: Live, path: str, fields: dict[str, Any]) -> None:
    body = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSE, "/v1/messages": MESSAGE}[path]
    with live.client() as client:
        answer = client.post(path, json={**body, **fields})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "body", "fields", "says", "never"),
    [
        ("/v1/chat/completions", CHAT, {"echo": True}, "Unknown field 'echo'", "Did you mean 'echo'"),
        ("/v1/responses", RESPONSE, {"n": 2}, "Unknown field 'n'", "Did you mean 'n'"),
        ("/v1/responses", RESPONSE, {"max_tokens": 1}, "max_output_tokens", "Did you mean 'max_tokens'"),
        ("/v1/messages", MESSAGE, {"max_completion_tokens": 1}, "Unknown field", "Did you mean 'max_completion_tokens'"),
        (
            "/v1/messages/count_tokens",
            {"model": "tiny", "messages": USER},
            {"stop_sequence": ["x"]},
            "Unknown",
            "sequences'?",
        ),
        ("/v1/chat/completions", CHAT, {"logit_bias": {"5": 1}}, "'logit_bias' is not served here", "Did you mean"),
        ("/v1/responses/input_tokens", RESPONSE, {"n": 2}, "Unknown field 'n'", "Did you mean 'n'"),
        ("/v1/messages", MESSAGE, {"stop": ["x"]}, "calls it stop_sequences", "Did you mean"),
        ("/v1/messages", MESSAGE, {"stop_sequences": [*map(str, range(65))]}, "stop_sequences: List should", "stop has"),
        ("/v1/messages", MESSAGE, {"tool_choice": {"type": "any"}}, "there are no tools", "None"),
        ("/v1/messages", {**MESSAGE, "tools": [TOOL]}, {"tool_choice": {"type": "tool"}}, "name one of look", "None"),
        ("/v1/messages", {**MESSAGE, "tools": [TOOL]}, {"tool_choice": {"type": "any", "name": "x"}}, "only for", "Did"),
        ("/v1/chat/completions", CHAT, {"n_predict": 1}, "calls it max_tokens", "prediction"),
        ("/v1/chat/completions", CHAT, {"messages": ["x"]}, "messages.0: must be a JSON object.", "content-type"),
        ("/v1/chat/completions", CHAT, {"stop": ["x"] * 17}, "stop: List should have at most 16", "valid string"),
        ("/v1/chat/completions", CHAT, {"guided_choice": []}, "guided_choice is empty", "structured_outputs"),
        ("/v1/completions", {"model": "tiny", "prompt": "a"}, {"input": "b"}, "calls it prompt", "min_p"),
        ("/v1/responses", RESPONSE, {"input": []}, "input: List should have at least 1", "valid string"),
        ("/v1/responses", RESPONSE, {"input": ["x"]}, "input.0: must be a JSON object.", "content-type"),
        ("/v1/responses", RESPONSE, {"reasoning": {"max_tokens": 1}}, "reasoning.max_tokens: unknown", "max_output_tokens"),
        ("/v1/messages", MESSAGE, {"container": "c"}, "'container' is not served here", "Did you mean"),
    ],
)
def test_an_errors_advice_can_be_followed(
    live: Live, path: str, body: dict[str, Any], fields: dict[str, Any], says: str, never: str
) -> None:
    with live.client() as client:
        answer = client.post(path, json={**body, **fields})
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    assert says in message
    assert never not in message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "fox " * 1100}]}),
        ("/v1/completions", {"prompt": "fox " * 1100}),
        ("/v1/responses", {"input": "fox " * 1100}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "fox " * 1100}]}),
    ],
)
def test_clients_know_a_prompt_that_is_too_long(live: Live, path: str, body: dict[str, Any]) -> None:
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    with live.client() as client:
        answer = client.post(path, json={"model": "tiny", limit: 4, **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    if path == "/v1/messages":
        assert error["message"].startswith("prompt is too long: ")
        assert error["message"].endswith(" tokens > 1024 maximum")
    else:
        assert error["code"] == "context_length_exceeded"
        assert error["message"].startswith("This model's maximum context length is 1024 tokens.")


def test_what_was_passed_over_is_known_by_its_path() -> None:
    body = ChatBody.model_validate(
        {**CHAT, "user": "u", "tools": [{"type": "custom"}], "stream_options": None, "store": None}
    )
    assert body.passed_over == {"user", "tools of type 'custom'"}


def test_an_empty_schema_is_one() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    read = ChatBody.model_validate({**CHAT, "structured_outputs": {"json": {}}, "response_format": form})
    assert read.structured_outputs is not None and read.structured_outputs.json_ == {}
    assert isinstance(read.response_format, JsonSchemaFormat) and read.response_format.json_schema.schema_ == {}
    flat = {"format": {"type": "json_schema", "name": "n", "schema": {}}}
    text = ResponseBody.model_validate({**RESPONSE, "text": flat}).text
    assert text is not None and isinstance(text.format, FlatSchemaFormat) and text.format.schema_ == {}


def test_a_mark_on_a_tool_that_is_passed_over_stands_on_the_one_before() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    tools = [{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "w", "cache_control": mark}]
    (tool,) = MessagesBody.model_validate({**MESSAGE, "tools": tools}).tools
    assert tool.cache_control is not None
    assert tool.cache_control.ttl == "1h"


def test_the_place_of_a_fault_has_no_names_of_branches() -> None:
    tools = [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": 5}]}]
    with pytest.raises(ValidationError) as caught:
        ResponseBody.model_validate({**RESPONSE, "tools": tools})
    assert describe_fault("/v1/responses", caught.value.errors()[0]).startswith("tools.0.tools.0.name: ")
    with pytest.raises(ValidationError) as caught:
        ChatBody.model_validate({**CHAT, "tools": [{"type": "function", "function": {"name": 5}}]})
    assert describe_fault("/v1/chat/completions", caught.value.errors()[0]).startswith("tools.0.function.name: ")
    with pytest.raises(ValidationError) as caught:
        CompletionBody.model_validate({"model": "tiny", "prompt": ["a", 5]})
    assert describe_fault("/v1/completions", caught.value.errors()[0]).startswith("prompt.1: ")


@pytest.mark.parametrize("place", ["body", "message"])
def test_of_many_unknown_fields_the_first_is_told_and_few_are_looked_at(place: str) -> None:
    """An error for each would hold everybody up."""
    many = {f"field_{number}": number for number in range(5000)}
    message = {"role": "user", "content": "hi"} | (many if place == "message" else {})
    given = {"model": "m", "messages": [message]} | (many if place == "body" else {})
    with pytest.raises(ValidationError) as caught:
        ChatBody.model_validate(given)
    assert caught.value.errors()[0]["loc"][-1] == "field_0"
    assert caught.value.error_count() == UNKNOWN
