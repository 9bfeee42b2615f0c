"""Tool calls are found in what a model writes, in whatever pieces it comes, and all else stays text."""

import itertools
from typing import Any

import pytest

from foreword.serving.tool_forms.base import ToolUse
from foreword.serving.tool_forms.reader import ToolCallReader
from server.live import Live

WEB, MAP = ToolUse("web", {"q": "fox"}), ToolUse("map", {})
TAGGED = '<tool_call>\n{"name": "web", "arguments": {"q": "fox"}}\n</tool_call>'
WEB_CALL = '<tool_call>{"name": "web", "arguments": {}}</tool_call>'
CASES = [
    ("plain text", ["plain text"]),
    ("", []),
    ("  \n", ["  \n"]),
    (TAGGED, [WEB]),
    (f"I look.\n{TAGGED}", ["I look.", WEB]),
    (f'{TAGGED}\n<tool_call>{{"name": "map", "arguments": {{}}}}</tool_call>\n', [WEB, MAP]),
    (f"{TAGGED} and then", [WEB, " and then"]),
    ('{"name": "web", "parameters": {"q": "fox"}}', [WEB]),
    ('\n[{"name": "web", "arguments": {"q": "fox"}}, {"name": "map", "arguments": {}}]', [WEB, MAP]),
    ('{"name": "map"}', [MAP]),
    ('<tool_call>{"name": "map"}', [MAP]),
    ('{"name": "other", "arguments": {}}', ['{"name": "other", "arguments": {}}']),
    ('{"name": ["web"]}', ['{"name": ["web"]}']),
    ('[{"name": "web"}, 5]', ['[{"name": "web"}, 5]']),
    ("[]", ["[]"]),
    ('{"an": "object"}', ['{"an": "object"}']),
    ("{ unfinished", ["{ unfinished"]),
    ("<tool_call>no JSON</tool_call>!", ["<tool_call>no JSON</tool_call>!"]),
    ("see <tool_call>no</tool_call>!", ["see <tool_call>no</tool_call>!"]),
    ("see <tool_call>{", ["see <tool_call>{"]),
    ("a < b <tool", ["a < b <tool"]),
    ("a <<tool_call>b", ["a <<tool_call>b"]),
]


def read(pieces: list[str]) -> list[str | ToolUse]:
    reader = ToolCallReader({"web", "map"})
    out = [piece for text in pieces for piece in reader.feed(text)] + reader.finish()
    joined: list[str | ToolUse] = []
    for piece in out:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    assert reader.calls == sum(isinstance(piece, ToolUse) for piece in out)
    return joined


@pytest.mark.parametrize(("text", "expected"), CASES, ids=range(len(CASES)))
def test_in_whatever_pieces_it_comes(text: str, expected: list[str | ToolUse]) -> None:
    assert read([text]) == expected
    assert read(list(text)) == expected
    for first, second in itertools.combinations(range(0, len(text), 3), 2):
        assert read([text[:first], text[first:second], text[second:]]) == expected


def test_text_is_not_held_back_without_need() -> None:
    reader = ToolCallReader({"web"})
    assert reader.feed("The fox ") == ["The fox"]
    assert reader.feed("jumps <tool") == [" jumps"]
    assert reader.feed("box") == [" <toolbox"]


def test_hostile_json_is_text() -> None:
    deep = "[" * 100_000
    assert read([deep]) == [deep]


@pytest.mark.parametrize(
    "text", [f"{2 * WEB_CALL}So.", '[{"name": "web", "arguments": {}}, {"name": "map", "arguments": {}}]']
)
def test_without_parallel_calls_the_first_one_counts(text: str) -> None:
    for pieces in ([text], list(text)):
        reader = ToolCallReader({"web", "map"}, parallel=False)
        out = [piece for part in pieces for piece in reader.feed(part)] + reader.finish()
        assert [piece for piece in out if isinstance(piece, ToolUse)] == [ToolUse("web", {})]
        assert "tool_call" not in "".join(piece for piece in out if isinstance(piece, str))


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
