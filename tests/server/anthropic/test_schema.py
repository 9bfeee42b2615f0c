"""Which bodies are taken, and what is said of the others."""

import re
from typing import Any, get_args

import anthropic.types
import pytest
from pydantic import ValidationError

from foreword.errors import InputError
from foreword.prompt.vendor_forms import ttl
from foreword.server.anthropic.errors import describe_fault, error_body, error_type
from foreword.server.anthropic.schema import CacheControl, CountTokensBody, MessagesBody

GOOD = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def block(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


def fault(**fields: Any) -> str:
    body = {name: value for name, value in {**GOOD, **fields}.items() if value != "absent"}
    with pytest.raises(ValidationError) as error:
        MessagesBody.model_validate(body)
    return describe_fault("/v1/messages", error.value.errors()[0])


def test_what_a_client_sends_back_of_an_answer_is_taken() -> None:
    text = anthropic.types.TextBlock(type="text", text="hi").model_dump()
    use = anthropic.types.ToolUseBlock(
        type="tool_use", id="u", name="web", input={}, caller=anthropic.types.DirectCaller(type="direct")
    ).model_dump()
    body = MessagesBody.model_validate({**GOOD, "messages": [{"role": "assistant", "content": [text, use]}]})
    assert [part.type for part in body.messages[0].content] == ["text", "tool_use"]


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "adaptive", "budget_tokens": 0, "display": "omitted"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"effort": "high"}},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {"system": None, "stop_sequences": None, "tools": None, "mcp_servers": [], "stream": None},
        {"tools": [{"type": "web_search_20250305", "name": "w"}]},
        block(type="text", text="a", citations=[]),
        {"tool_choice": {"type": "none"}},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"temperature": 0},
        {"max_tokens": 0},
        {"speed": "standard", "service_tier": "standard_only", "metadata": {"user_id": "7"}},
        {"diagnostics": {"previous_message_id": None}},
        {"tools": [{"type": "custom", "name": "t", "input_schema": {}}]},
    ],
)
def test_taken(fields: dict[str, Any]) -> None:
    MessagesBody.model_validate({**GOOD, **fields})


def test_a_request_can_be_counted_as_it_is_sent() -> None:
    said = {"max_tokens": 5, "stream": True, "temperature": 1, "top_k": 3, "top_p": 0.5, "stop_sequences": ["a"]}
    told = {"service_tier": "auto", "metadata": {"user_id": "7"}, "diagnostics": {"previous_message_id": "m"}}
    body = {**GOOD, **said, **told}
    MessagesBody.model_validate(body)
    assert CountTokensBody.model_validate(body).passed_over == {*said, *told}
    missing = MessagesBody.model_fields.keys() - CountTokensBody.model_fields - CountTokensBody.table.taken.keys()
    assert not missing


@pytest.mark.parametrize(("name", "why"), MessagesBody.table.refused.items())
def test_what_the_vendor_knows_and_is_not_served_is_refused_by_name(name: str, why: str) -> None:
    assert f"{name!r} is not served here: {why}" in fault(**{name: {"a": 1}})
    assert fault(tools=[{"name": "t", "input_schema": {}, name: True}]) == f"tools.0.{name}: unknown field; leave it out."


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": "absent"}, "max_tokens: required"),
        ({"max_tokens": "5"}, r"max_tokens: .* valid integer \(got '5'\)"),
        ({"max_tokens": True}, r"max_tokens: .* valid integer \(got True\)"),
        ({"max_tokens": -1}, r"max_tokens: .* greater than or equal to 0 \(got -1\)"),
        ({"temperature": 1.5}, r"temperature: .* less than or equal to 1 \(got 1.5\)"),
        ({"messages": []}, "messages: .* at least 1"),
        ({"messages": "hi"}, "messages: .* valid list"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            r"messages\.0\.role: .*'user', 'assistant' or 'system'.*'robot'",
        ),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\.0\.content: "),
        (
            block(type="server_tool_use"),
            r"messages\.0\.content\.0: type 'server_tool_use' is not served here; allowed: 'text'",
        ),
        (block(type="text"), r"messages\.0\.content\.0\.text: required"),
        (
            block(type="text", text="a\ud800b"),
            r"messages\.0\.content\.0\.text: half a surrogate pair \(U\+D800\) at character 1",
        ),
        (
            block(type="text", text="a", cache_control={"type": "ephemeral", "ttl": "2h"}),
            r"ttl: .*'5m' or '1h' \(got '2h'\)",
        ),
        (block(type="text", text="a", cache_control={"type": "forever"}), "cache_control.type: type 'forever'"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, r"tools\.0\.name: "),
        ({"tool_choice": {"type": "all"}}, r"tool_choice\.type: type 'all' is not served here; allowed: 'auto', 'none'"),
        ({"thinking": {"type": "much"}}, r"thinking\.type: type 'much' is not served here; allowed: 'disabled'"),
        ({"max_token": 5}, r"Unknown field 'max_token'\. Did you mean 'max_tokens'\?"),
        ({"diagnostics": {"previous": 1}}, r"diagnostics\.previous: unknown field"),
    ],
)
def test_refused_with_place_and_value(fields: dict[str, Any], says: str) -> None:
    assert re.search(says, fault(**fields)), fault(**fields)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_error_types_are_the_vendors(status: int, kind: str) -> None:
    assert error_type(status) == kind
    assert error_body(InputError("no"), status, "req_1") == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "req_1",
    }


def test_the_lifetimes_of_marks_are_those_that_have_seconds() -> None:
    assert get_args(CacheControl.model_fields["ttl"].annotation) == tuple(ttl.ANTHROPIC)
    assert CacheControl(type="ephemeral").ttl == ttl.ANTHROPIC_DEFAULT
