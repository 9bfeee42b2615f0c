"""Tool calls in what the model writes."""

import json
from typing import Any

import pytest

from foreword.server.openai.chat_choices import ChoiceReader, offered
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import Choice

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look"}}
TEXT = 'Wait. <tool_call>{"name": "look", "arguments": {"at": "dög"}}</tool_call>'


def read(pieces: list[str], names: list[str]) -> tuple[str, list[dict[str, Any]], str | None]:
    reader, text, calls = ChoiceReader("chatcmpl-1", names), "", []
    for number, piece in enumerate(pieces, start=1):
        choice = Choice(0, piece, (), "stop" if number == len(pieces) else None)
        more, called = reader.feed(choice)
        text, calls = text + more, calls + called
    return text, calls, reader.finish_reason(choice)


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
    assert offered(ChatBody.model_validate(body)) == {"look"}
    assert offered(ChatBody.model_validate({**body, "tool_choice": "none"})) == frozenset()
