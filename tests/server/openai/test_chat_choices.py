"""Tool calls in what the model writes."""

import json
from typing import Any

import pytest

from foreword.server.openai.chat_choices import finish_reason, tool_calls, usable_tools
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import UsableTools
from serving.choices import choices

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look"}}
TEXT = 'Wait. <tool_call>{"name": "look", "arguments": {"at": "dög"}}</tool_call>'


def read(pieces: list[str], names: list[str]) -> tuple[str, list[dict[str, Any]], str | None]:
    text = ""
    calls: list[dict[str, Any]] = []
    for choice in choices(pieces, names):
        text, calls = text + choice.text, calls + tool_calls("chatcmpl-1", choice)
    return text, calls, finish_reason(choice)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_is_read_whole_and_in_pieces(size: int) -> None:
    text, (call,), reason = read([TEXT[at : at + size] for at in range(0, len(TEXT), size)], ["look"])
    assert (text.strip(), reason) == ("Wait.", "tool_calls")
    assert (call["index"], call["type"], call["function"]["name"]) == (0, "function", "look")
    assert json.loads(call["function"]["arguments"]) == {"at": "dög"}


def test_without_tools_all_is_text() -> None:
    assert read([TEXT], []) == (TEXT, [], "stop")
    assert read([TEXT], ["other"]) == (TEXT, [], "stop")


def test_calls_have_ids_of_their_own() -> None:
    _, calls, _ = read([TEXT + TEXT.removeprefix("Wait. ")], ["look"])
    assert [call["index"] for call in calls] == [0, 1]
    assert len({call["id"] for call in calls}) == 2


def test_tool_choice_none_offers_no_tool() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [TOOL]}
    assert usable_tools(ChatBody.model_validate(body)) == UsableTools(frozenset({"look"}))
    assert usable_tools(ChatBody.model_validate({**body, "tool_choice": "none"})) == UsableTools()
    assert not usable_tools(ChatBody.model_validate({**body, "parallel_tool_calls": False})).parallel
