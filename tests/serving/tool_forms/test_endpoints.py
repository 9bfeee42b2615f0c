"""Calls and thoughts through the endpoints: the same answer is told in each one's words."""

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
