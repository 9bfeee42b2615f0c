"""Calls and thoughts through the endpoints: the same answer is told in each one's words."""

import json
import re
from typing import Any

import pytest

from server.live import Live

WEB_CALL = '<tool_call>{"name": "web", "arguments": {}}</tool_call>'
TURN = [{"role": "user", "content": "fox"}]
FUNCTION = {"name": "web", "parameters": {}}


@pytest.mark.parametrize(
    ("path", "body", "one", "kind"),
    [
        (
            "/v1/chat/completions",
            {"messages": TURN, "tools": [{"type": "function", "function": FUNCTION}]},
            {"parallel_tool_calls": False},
            '"type":"function"',
        ),
        (
            "/v1/responses",
            {"input": "fox", "tools": [{"type": "function", **FUNCTION}]},
            {"parallel_tool_calls": False},
            '"type":"function_call"',
        ),
        (
            "/v1/messages",
            {"messages": TURN, "max_tokens": 200, "tools": [{"name": "web", "input_schema": {}}]},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            '"type":"tool_use"',
        ),
    ],
)
def test_every_endpoint_tells_the_calls_and_only_one_where_so_asked(
    live: Live, path: str, body: dict[str, Any], one: dict[str, Any], kind: str
) -> None:
    with live.model_says(2 * WEB_CALL), live.client() as client:
        two, single = (client.post(path, json={"model": "tiny", **body, **more}) for more in ({}, one))
    answers = [answer.text.partition('"tools"')[0] for answer in (two, single)]  # the request's own tools may be repeated
    assert [answer.count(kind) for answer in answers] == [2, 1], answers


def ask(live: Live, path: str, said: str, **more: Any) -> dict[str, Any]:
    """The answer of one endpoint, where the model says a text."""
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": TURN, "tools": [{"type": "function", "function": FUNCTION}]},
        "/v1/responses": {"input": "fox", "tools": [{"type": "function", **FUNCTION}]},
        "/v1/messages": {"messages": TURN, "max_tokens": 200, "tools": [{"name": "web", "input_schema": {}}]},
    }
    with live.model_says(said), live.client() as client:
        answer = client.post(path, json={"model": "tiny", **bodies[path], **more})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = json.loads(answer.text, parse_constant=_refuse)
    return whole


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def calls_of(path: str, answer: dict[str, Any]) -> list[tuple[str, Any]]:
    """Ids and arguments of the calls in an answer."""
    if path == "/v1/messages":
        return [(block["id"], block["input"]) for block in answer["content"] if block["type"] == "tool_use"]
    if path == "/v1/responses":
        items = [item for item in answer["output"] if item["type"] == "function_call"]
        return [(item["call_id"], json.loads(item["arguments"])) for item in items]
    calls = answer["choices"][0]["message"].get("tool_calls", [])
    return [(call["id"], json.loads(call["function"]["arguments"])) for call in calls]


PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"q": "\\ud83c"}', {"q": "\ufffd"}),
        ('{"\\udc00": 1}', {"\ufffd": 1}),
        ('{"q": NaN}', {"q": None}),
        ('{"q": -Infinity}', {"q": None}),
        ('{"q": 1e999}', {"q": None}),
    ],
)
def test_whatever_the_model_writes_is_told_as_json_with_an_id_that_every_template_takes(
    live: Live, path: str, arguments: str, told: dict[str, Any]
) -> None:
    answer = ask(live, path, f'<tool_call>{{"name": "web", "arguments": {arguments}}}</tool_call>')
    ((call_id, got),) = calls_of(path, answer)
    assert got == told
    assert re.fullmatch("[a-zA-Z0-9]{9}", call_id)


@pytest.mark.parametrize("path", PATHS)
def test_thoughts_are_told_apart_and_counted(live: Live, path: str) -> None:
    thought = f"I could {WEB_CALL}"
    answer = ask(live, path, f"<think>{thought}</think>\n\nNo.")
    assert calls_of(path, answer) == []
    count = len(live.encode(f"<think>{thought}</think>", add_special_tokens=False))
    if path == "/v1/messages":
        assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
        assert answer["content"][0]["thinking"] == thought
    elif path == "/v1/responses":
        assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
        assert answer["output"][0]["content"][0]["text"] == thought
        assert answer["usage"]["output_tokens_details"]["reasoning_tokens"] == count
    else:
        message = answer["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == (thought, "No.")
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == count
