"""Lines of all known kinds become the same neutral request; what is none is refused with a reason."""

import json
from typing import Any

import pytest

from foreword.audit.readers import LogLineError, parse_line, read_record
from foreword.audit.request import LoggedRequest, ReportedUsage

CHAT = {
    "model": "gpt-5",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "five"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}],
    "prompt_cache_retention": "24h",
    "user": "u1",
}
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "five"}]},
    ],
    "tools": [{"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}}],
    "cache_control": {"type": "ephemeral"},
}
RESPONSES = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "five"},
    ],
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
}


def read(record: dict[str, Any]) -> LoggedRequest:
    parsed, foreign = parse_line(json.dumps(record).encode())
    assert not foreign
    return read_record(parsed, 7)


def row(request: LoggedRequest) -> list[tuple[str, str, str]]:
    return [(piece.label, piece.kind, piece.text) for piece in request.pieces]


def test_chat_completions() -> None:
    request = read(CHAT)
    assert row(request)[:3] == [
        ("tools, tool 1", "tool", '{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}'),
        ("system, block 1", "text", "Be brief."),
        ("message 1 (user), block 1", "text", "Hello"),
    ]
    assert [(label, kind) for label, kind, _ in row(request)[3:]] == [
        ("message 1 (user), block 2", "image"),
        ("message 2 (assistant), block 1", "tool_use"),
        ("message 3 (tool), block 1", "tool_result"),
    ]
    assert (request.provider, request.model, request.user, request.line) == ("openai", "gpt-5", "u1", 7)
    assert not request.marked_only
    assert request.lifetime == 86_400
    assert request.time is None


def test_anthropic_messages_and_their_marks() -> None:
    request = read(MESSAGES)
    assert [(label, kind) for label, kind, _ in row(request)] == [
        ("tools, tool 1", "tool"),
        ("system, block 1", "text"),
        ("message 1 (user), block 1", "text"),
        ("message 2 (assistant), block 1", "tool_use"),
        ("message 3 (user), block 1", "tool_result"),
    ]
    assert [request.pieces[i].mark for i in range(5)] == [300, 3600, None, None, 300]
    assert "cache_control" not in request.pieces[0].text
    assert request.marked_only


def test_responses() -> None:
    request = read(RESPONSES)
    assert [(label, kind) for label, kind, _ in row(request)] == [
        ("output schema", "schema"),
        ("system, block 1", "text"),
        ("message 1 (user), block 1", "text"),
        ("message 2 (assistant), block 1", "tool_use"),
        ("message 3 (tool), block 1", "tool_result"),
    ]
    assert row(read({"model": "gpt-5", "input": "Hello"})) == [("message 1 (user), block 1", "text", "Hello")]


@pytest.mark.parametrize("body", [CHAT, MESSAGES, RESPONSES])
def test_wrappers_do_not_change_the_prompt(body: dict[str, Any]) -> None:
    bare = read(body)
    wrapped: list[dict[str, Any]] = [
        {"ts": 5, "request": body},
        {"timestamp": "1970-01-01T00:00:05Z", "request": json.dumps(body)},
        {"custom_id": "a", "method": "POST", "url": "/v1/x", "body": body, "created_at": 5_000_000_000_000},
        {"custom_id": "a", "params": body, "time": "5.0"},
    ]
    for record in wrapped:
        request = read(record)
        assert request.pieces == bare.pieces
        assert request.time in (5.0, 5_000_000_000.0, None)
        assert request.marked_only == bare.marked_only
    assert read(wrapped[0]).time == read(wrapped[1]).time == read(wrapped[3]).time == 5.0


def test_litellm() -> None:
    """Its logging payload has the messages beside the other parameters, and both vendors' usage fields."""
    request = read(
        {
            "id": "x",
            "custom_llm_provider": "anthropic",
            "model": "claude-sonnet-4-5",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": "Hello"},
            ],
            "model_parameters": {"tools": CHAT["tools"], "temperature": 0},
            "startTime": 100.0,
            "completionStartTime": 101.5,
            "endTime": 110.0,
            "end_user": "u9",
            "response": {
                "usage": {"prompt_tokens": 50, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 5},
            },
        }
    )
    assert (request.provider, request.user, request.time, request.first_token) == ("anthropic", "u9", 100.0, 1.5)
    assert [piece.label for piece in request.pieces] == ["tools, tool 1", "system, block 1", "message 1 (user), block 1"]
    assert request.pieces[1].mark == 300
    assert request.usage == ReportedUsage(50, 30, 5)
    assert request.marked_only


def test_own_log_with_tenant_and_ignored_rules() -> None:
    request = read(
        {
            "ts": 1,
            "provider": "foreword",
            "tenant": "acme",
            "request": {**MESSAGES, "metadata": {"foreword_ignore": "FW1 FW2"}},
        }
    )
    assert request.scope == "acme"
    assert not request.marked_only
    assert request.ignored == ("FW1", "FW2")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, ReportedUsage(9, 4)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, ReportedUsage(9, 0)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}}, ReportedUsage(9, 4, 2)),
        ({"input_tokens": 1, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}, ReportedUsage(7, 4, 2)),
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5, "prompt_tokens": 9}, ReportedUsage(9, 4)),
        ({"prompt_tokens": "many"}, ReportedUsage(0, 0)),
        ({"prompt_tokens": float("nan"), "prompt_tokens_details": {"cached_tokens": float("inf")}}, ReportedUsage(0, 0)),
        ({"input_tokens": 10**400, "input_tokens_details": {"cached_tokens": -4}}, ReportedUsage(0, 0)),
        ({}, None),
        (None, None),
    ],
)
def test_usage_of_every_vendor(usage: Any, expected: ReportedUsage | None) -> None:
    assert read({"request": CHAT, "response": {"usage": usage}}).usage == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"model": "gpt-5", "mess', "not JSON"),
        (b"[1, 2]", "list"),
        (b"null", "NoneType"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "b": 2}', "keys are a, b"),
        (b'{"' + b"a" * 200_000 + b'": 1}', "keys are a{40}$"),
        (b'{"messages": "hello"}', "no request body"),
        (b'{"messages": [1]}', "no request body"),
        (b'{"model": "text-embedding-3", "input": ["a", "b"]}', "no request body"),
        (b'{"messages": []}', "no prompt"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"type": "gemini", "content": "b"}]}', "message 2 has no role"),
        (b'{"messages": [{"role": null, "content": "a"}]}', "message 1 has no role"),
        (b'{"request": "{broken"}', "not JSON"),
    ],
)
def test_lines_without_a_request(line: bytes, reason: str) -> None:
    with pytest.raises(LogLineError, match=reason):
        read_record(parse_line(line)[0], 1)


def test_strange_values_in_a_known_body() -> None:
    """Nothing in a body's inside may stop the audit."""
    body = {
        "model": None,
        "messages": [
            {"role": "user", "content": 5},
            {"role": "", "content": [None, 1, {"type": 3}, {"type": "text", "text": None}]},
        ],
        "tools": ["x", {"name": 1}],
        "metadata": ["not a dict"],
    }
    request = read({"ts": "yesterday", "duration": "long", "request": body, "usage": [1]})
    assert request.time is None
    assert request.first_token is None
    assert len(request.pieces) == 6


def test_other_encodings() -> None:
    line = '{"messages": [{"role": "user", "content": "Grüße – “ja”"}]}'
    record, foreign = parse_line(line.encode("cp1252"))
    assert foreign
    assert read_record(record, 1).pieces[0].text == "Grüße – “ja”"
    record, foreign = parse_line(b"\xef\xbb\xbf" + line.encode())
    assert not foreign
    assert read_record(record, 1).pieces[0].text == "Grüße – “ja”"


@pytest.mark.parametrize("value", ["Infinity", "NaN", "1e400", "true", '"inf"', "1" + "0" * 400])
def test_times_that_are_none(value: str) -> None:
    record, _ = parse_line(f'{{"ts": {value}, "duration": {value}, "request": {json.dumps(CHAT)}}}')
    request = read_record(record, 1)
    assert request.time is None
    assert request.first_token is None


@pytest.mark.parametrize("value", [-9e10, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_the_calendar_is_none(value: Any) -> None:
    """A chat template could not write it."""
    assert read({"ts": value, "request": CHAT}).time is None


@pytest.mark.parametrize("calls", [5, "x", {"a": 1}])
def test_calls_that_are_no_list_are_none(calls: Any) -> None:
    message = {"role": "assistant", "content": "yes", "tool_calls": calls}
    assert [piece.text for piece in read({"messages": [message]}).pieces] == ["yes"]
