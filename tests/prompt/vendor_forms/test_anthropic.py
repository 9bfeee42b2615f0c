"""Turns of Anthropic's messages API, read and written. What a body may not say is tested with the server's dialect."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given

from foreword.errors import PromptError
from foreword.prompt.chat import Block, Message, ToolCall, text_blocks
from foreword.prompt.vendor_forms.anthropic import BlockPlace, join_turns, mark_ttl, read_prompt, write_turn
from prompt.vendor_forms.conversations import turns


@given(turns(named=True))
def test_turns_written_are_read_as_they_were(messages: list[Message]) -> None:
    body = {"messages": join_turns(map(write_turn, messages))}
    assert [role for role, _ in groupby(body["messages"], key=lambda turn: turn["role"])] == [
        turn["role"] for turn in body["messages"]
    ]
    assert list(read_prompt(body)[0]) == messages


@given(turns(named=True))
def test_every_place_is_a_block_of_its_message(messages: list[Message]) -> None:
    read, places = read_prompt({"messages": join_turns(map(write_turn, messages))})
    for place in places:
        assert place.message is not None
        message = read[place.message]
        assert 0 <= place.block < len(message.blocks) + len(message.tool_calls)
    told = [(place.message, place.block) for place in places if place.nested or read[place.message or 0].role != "tool"]
    assert told == [
        (index, block)
        for index, message in enumerate(read)
        for block in range(len(message.blocks) + len(message.tool_calls))
    ]


def test_places_name_the_way_in_the_body() -> None:
    control = {"type": "ephemeral"}
    _, places = read_prompt(
        {
            "tools": [{"name": "f", "input_schema": {}, "cache_control": {**control, "ttl": "1h"}}],
            "system": [{"type": "text", "text": ""}, {"type": "text", "text": "Be.", "cache_control": control}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]}],
        }
    )
    assert places == [
        BlockPlace("tools.0", None, 0, "1h"),
        BlockPlace("system.1", 0, 0, "5m"),
        BlockPlace("messages.0.content.0", 1, 0, None, empty=True),
        BlockPlace("messages.0.content.1", 1, 0, None),
    ]


@pytest.mark.parametrize(("marked", "word"), [({}, None), ({"cache_control": None}, None), ({"cache_control": {}}, "5m")])
def test_a_mark_without_a_lifetime_has_the_vendors_own(marked: dict[str, Any], word: str | None) -> None:
    assert mark_ttl(marked) == word


def test_blocks_of_the_vendors_own_go_back_as_they_came() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    message = Message("assistant", (Block("thinking", "hm", thinking), Block("thinking", "unsigned"), *text_blocks("so")))
    assert write_turn(message) == ("assistant", [thinking, {"type": "text", "text": "so"}])


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_role_without_a_place_is_refused(role: str) -> None:
    with pytest.raises(PromptError, match=f"role '{role}' stands in the history"):
        write_turn(Message(role, text_blocks("x")))


def test_arguments_that_are_no_json_are_refused() -> None:
    with pytest.raises(PromptError, match="call to 'f' are not JSON"):
        write_turn(Message("assistant", (), (ToolCall("c", "f", "{"),)))
