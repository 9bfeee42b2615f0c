"""Tool calls are found in what a model writes, in whatever pieces it comes, and all else stays text."""

import itertools

import pytest

from foreword.server.tool_calls import Call, ToolCallReader

WEB, MAP = Call("web", {"q": "fox"}), Call("map", {})
TAGGED = '<tool_call>\n{"name": "web", "arguments": {"q": "fox"}}\n</tool_call>'
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


def read(pieces: list[str]) -> list[str | Call]:
    reader = ToolCallReader({"web", "map"})
    out = [piece for text in pieces for piece in reader.feed(text)] + reader.finish()
    joined: list[str | Call] = []
    for piece in out:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    assert reader.called == any(isinstance(piece, Call) for piece in out)
    return joined


@pytest.mark.parametrize(("text", "expected"), CASES, ids=range(len(CASES)))
def test_in_whatever_pieces_it_comes(text: str, expected: list[str | Call]) -> None:
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
