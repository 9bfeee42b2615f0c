"""Tool calls in what the model writes."""

import json
import re
from typing import Any

import pytest

from foreword.server.openai.chat_choices import delta, finish_reason, message, usable_tools
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import UsableTools
from serving.choices import choices

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look"}}
TEXT = 'Wait. <tool_call>{"name": "look", "arguments": {"at": "dög"}}</tool_call>'


def read(pieces: list[str], names: list[str]) -> tuple[str, list[dict[str, Any]], str | None]:
    """What a client makes of the deltas: it joins them by their numbers."""
    text = ""
    calls: list[dict[str, Any]] = []
    for number, choice in enumerate(choices(pieces, names)):
        new = delta(choice, begins=number == 0)
        text += new.get("content") or ""
        for entry in new.get("tool_calls", ()):
            if entry["index"] == len(calls):
                calls.append(entry)
            else:
                calls[entry["index"]]["function"]["arguments"] += entry["function"]["arguments"]
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


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thoughts_are_told_apart_and_calls_in_them_do_not_count(size: int) -> None:
    text = f"<think>\nI could {TEXT}\n</think>\n\n{TEXT}"
    made = choices([text[at : at + size] for at in range(0, len(text), size)], ["look"])
    thought = "".join(delta(choice, begins=False).get("reasoning_content", "") for choice in made)
    assert thought == f"I could {TEXT}"
    assert made[-1].calls == 1


def test_a_whole_message_has_its_thoughts_text_and_calls() -> None:
    (choice,) = choices([f"<think>Hm.</think>{TEXT}"], ["look"])
    said = message(choice)
    (call,) = said["tool_calls"]
    assert (said["reasoning_content"], said["content"]) == ("Hm.", "Wait.")
    assert call["function"] == {"name": "look", "arguments": '{"at": "dög"}'}
    assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"])
    (thinking,) = choices(["<think>Hm."], ["look"], "length")
    assert message(thinking)["content"] is None
    (plain,) = choices(["Yes"])
    assert message(plain) == {"role": "assistant", "content": "Yes", "refusal": None}
