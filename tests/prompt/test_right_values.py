"""What canonical form, the builder and conversations refuse, and what they leave alone."""

import datetime
from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt import (
    Conversation,
    PromptBuilder,
    canonical_json,
    canonical_messages,
    canonical_request,
    find_volatile,
    group_by_prefix,
)

MARK = {"cache_control": {"type": "ephemeral"}}


def test_a_mark_covers_the_same_tools() -> None:
    tools = canonical_request({"tools": [{"name": "z"}, {"name": "a", **MARK}]})["tools"]
    assert tools == [{"name": "a"}, {"name": "z", **MARK}]
    between = [{"name": "z", **MARK}, {"name": "a"}]
    assert canonical_request({"tools": between})["tools"] == between


@pytest.mark.parametrize("value", [float("nan"), {1}, datetime.date(2026, 1, 1), {1: 2}, "\udfff", {"\udfff": 1}])
def test_an_error_fits_its_cause(value: Any) -> None:
    with pytest.raises(PromptError) as caught:
        canonical_json(value)
    assert "large integers" not in str(caught.value)
    with pytest.raises(PromptError, match="large integers"):
        canonical_json(2**60)


def test_arguments_with_a_key_twice_stay_as_they_are() -> None:
    text = '{"a":1,"a":2}'
    call = {"function": {"name": "f", "arguments": text}}
    (message,) = canonical_messages([{"role": "assistant", "tool_calls": [call]}])
    assert message["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize("body", [None, "x", {"tools": "abc"}, {"tools": ["abc"]}, {"messages": [{1: 2, "role": "user"}]}])
def test_what_is_no_request_is_refused(body: Any) -> None:
    with pytest.raises(PromptError):
        canonical_request(body)


def test_data_in_a_schema_keeps_its_order() -> None:
    schema = {"required": ["b", "a"], "examples": [{"required": ["b", "a"]}]}
    (tool,) = canonical_request({"tools": [{"name": "f", "input_schema": schema}]})["tools"]
    assert tool["input_schema"] == {"required": ["a", "b"], "examples": [{"required": ["b", "a"]}]}


def built() -> Any:
    builder = PromptBuilder(names={"user": "Ann"})
    builder.static("rules", "Anniversary rules.")
    builder.turn("q", "Hi?")
    return builder


def test_a_name_is_a_word() -> None:
    with pytest.raises(PromptError, match="user 'Ann'"):
        built().static("more", "Be kind to Ann.")


@pytest.mark.parametrize("fields", [{"static_lifetime": "2h"}, {"messages": []}, {"system": "x"}, {"tools": []}])
def test_a_body_is_what_was_built(fields: dict[str, Any]) -> None:
    with pytest.raises(PromptError):
        built().build().anthropic("claude-opus-5", max_tokens=5, **fields)


@pytest.mark.parametrize("message", [{"content": "x"}, {"role": None, "content": "x"}, "x"])
def test_a_history_has_roles(message: Any) -> None:
    with pytest.raises(PromptError, match="role"):
        built().build([message])


def test_a_conversation_cannot_be_changed_from_outside() -> None:
    talk = Conversation.start("s", [{"name": "f", "input_schema": {}}])
    talk.messages[0]["content"] = "changed"
    talk.tools[0]["name"] = "changed"
    assert (talk.messages[0]["content"], talk.tools[0]["name"]) == ("s", "f")
    question: Any = None
    with pytest.raises(PromptError, match="None"):
        talk.ask(question)


def test_a_conversation_as_bodies_of_both_vendors() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = Conversation.start("Be brief.", [{"name": "f", "input_schema": {"type": "object"}}]).ask("Hi?")
    talk = talk.add({"role": "assistant", "content": "", "tool_calls": [call]})
    talk = talk.add({"role": "tool", "tool_call_id": "c", "content": "five"})
    body = talk.anthropic("claude-opus-5", max_tokens=5, temperature=0)
    assert body["system"] == [{"type": "text", "text": "Be brief.", **MARK}]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][-1]["content"][-1]["cache_control"] == MARK["cache_control"]
    assert (body["tools"][0]["name"], body["temperature"]) == ("f", 0)
    body = talk.openai("gpt-5.1")
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["tools"][0]["function"]["name"] == "f"


def test_token_ids_are_whole() -> None:
    wrong: Any = [[1.5]]
    with pytest.raises(PromptError, match="whole"):
        group_by_prefix(wrong)


@pytest.mark.parametrize("cue", ["e.g.", "e. g.", "for example"])
def test_an_example_is_not_volatile(cue: str) -> None:
    assert not find_volatile(f"{cue} 123e4567-e89b-12d3-a456-426614174000")
    assert find_volatile("Session 123e4567-e89b-12d3-a456-426614174000")
