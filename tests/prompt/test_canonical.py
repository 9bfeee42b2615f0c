"""Same meaning, same tokens; another meaning, other tokens."""

import json
import random
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.errors import PromptError
from foreword.prompt.canonical import (
    canonical_json,
    canonical_messages,
    canonical_request,
    canonical_text,
    canonical_tools,
)
from foreword.prompt.chat import tool_name
from prompt.families import template

NAMES = st.sampled_from(["city", "days", "unit", "é", "limit"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
TEXTS = st.text(st.sampled_from("ab é\n\t ü{}"), max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A chat request with tools and tool calls."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": draw(TEXTS),
                "parameters": {
                    "type": "object",
                    "properties": draw(st.dictionaries(NAMES, VALUES, max_size=3)),
                    "required": ["city", "days"],
                },
            },
        }
        for name in draw(st.lists(st.sampled_from(["search", "weather", "zip"]), unique=True, min_size=1))
    ]
    call = {
        "type": "function",
        "function": {"name": "search", "arguments": json.dumps(draw(st.dictionaries(NAMES, VALUES, max_size=3)))},
    }
    return {
        "model": "m",
        "tools": tools,
        "messages": [
            {"role": "system", "content": draw(TEXTS)},
            {"role": "user", "content": [{"type": "text", "text": "x" + draw(TEXTS)}]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": draw(TEXTS)},
        ],
    }


def disguise(value: Any, rng: random.Random, key: str = "") -> Any:
    """The same request, written by another client."""
    if isinstance(value, dict):
        pairs = list(value.items())
        rng.shuffle(pairs)
        return {name: disguise(item, rng, name) for name, item in pairs}
    if isinstance(value, list):
        items = [disguise(item, rng) for item in value]
        if key in ("tools", "required"):
            rng.shuffle(items)
        if key == "content" and len(items) == 1 and rng.random() < 0.5:
            return items[0]["text"]
        return items
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and key == "arguments":
        parsed = disguise(json.loads(value), rng)
        return json.dumps(parsed, indent=rng.choice([None, 2]), ensure_ascii=rng.random() < 0.5)
    if isinstance(value, str) and key in ("content", "text", "description"):
        return unicodedata.normalize(rng.choice(["NFC", "NFD"]), value).replace("\n", rng.choice(["\n", "\r\n", "\r"]))
    return value


@given(requests(), st.randoms(use_true_random=False))
def test_same_meaning_same_tokens(request: dict[str, Any], rng: random.Random) -> None:
    tokens = []
    for body in (request, disguise(request, rng)):
        plain = canonical_request(body)
        tokens.append(template("qwen2_5").encode(template("qwen2_5").render(plain["messages"], plain["tools"])))
    assert tokens[0] == tokens[1]


@given(requests())
def test_canonical_form_is_stable_and_leaves_the_given_request_alone(request: dict[str, Any]) -> None:
    before = json.dumps(request)
    once = canonical_request(request)
    assert json.dumps(request) == before
    assert canonical_request(once) == once
    assert once["model"] == "m"


@given(requests(), requests())
def test_another_meaning_gives_another_form(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Two requests have one canonical form only if they say the same."""
    if canonical_request(one) == canonical_request(two):
        assert [message["content"] for message in one["messages"]] == [message["content"] for message in two["messages"]]
        assert sorted(map(tool_name, one["tools"])) == sorted(map(tool_name, two["tools"]))


def test_what_is_not_touched() -> None:
    text = '  two  blanks\t\n\n\n{ "b": 1, "a": 2 }  ﬁ ² '
    assert canonical_text(text) == text
    messages = [{"role": "user", "content": "b"}, {"role": "user", "content": "a"}]
    assert canonical_messages(messages) == messages
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    assert canonical_messages([marked]) == [marked]
    request = {"stop": ["\r\n"], "temperature": 1.0, "messages": [], "logit_bias": {"b": 1, "a": 2}}
    assert json.dumps(canonical_request(request)) == json.dumps(request)
    broken = {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"a": '}}]}
    assert canonical_messages([broken])[0]["tool_calls"][0]["function"]["arguments"] == '{"a": '
    schema = [{"name": "f", "input_schema": {"enum": ["z", "a"], "required": ["q", "b"]}}]
    assert canonical_tools(schema) == [{"input_schema": {"enum": ["z", "a"], "required": ["b", "q"]}, "name": "f"}]


def test_json_by_rfc_8785() -> None:
    assert canonical_json({"b": 1.0, "a": [1e21, "é\n"], "\u20ac": None}) == '{"a":[1e+21,"é\\n"],"b":1,"€":null}'
    assert canonical_text("\ufeffa\r\nb\rc e\u0301") == "a\nb\nc é"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, {1, 2}, {1: 2}, "\ud800"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(PromptError, match="no canonical JSON form"):
        canonical_json([value])


def test_anthropic_and_responses_bodies() -> None:
    body = {
        "system": [{"type": "text", "text": "a\r\nb"}],
        "tools": [{"name": "z", "input_schema": {"b": 1, "a": 2}}, {"name": "a", "input_schema": {}}],
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "z", "input": {"y": 1.0, "x": 2}}]}
        ],
        "max_tokens": 5,
    }
    plain = canonical_request(body)
    assert [tool["name"] for tool in plain["tools"]] == ["a", "z"]
    assert plain["system"][0]["text"] == "a\nb"
    assert json.dumps(plain["messages"][0]["content"][0]["input"]) == '{"x": 2, "y": 1}'
    responses = canonical_request(
        {"instructions": "a\r", "input": [{"type": "function_call", "arguments": '{ "b":1, "a":2}'}]}
    )
    assert responses == {"instructions": "a\n", "input": [{"type": "function_call", "arguments": '{"a":2,"b":1}'}]}
