"""Messages of OpenAI's chat and responses APIs, read and written."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.errors import PromptError
from foreword.prompt.chat import Block, Message, ToolCall, text_blocks
from foreword.prompt.vendor_forms.openai import (
    allowed_tools,
    holds_result,
    read_item,
    read_items,
    read_message,
    write_items,
    write_message,
)
from prompt.vendor_forms.conversations import turns


@given(turns(thinking=True, named=True))
def test_a_message_written_for_the_chat_api_is_read_as_it_was(messages: list[Message]) -> None:
    assert [read_message(write_message(message)) for message in messages] == messages


@given(turns())
def test_arguments_sent_as_text_are_opened_to_the_same_object(messages: list[Message]) -> None:
    for message in messages:
        sent = write_message(message)
        for call in sent.get("tool_calls", ()):
            call["function"] |= {"arguments": json.dumps(call["function"]["arguments"], indent=1)}
        assert read_message(sent).with_opened_calls() == message


@pytest.mark.parametrize("text", ["no JSON", "[1]", '"a"', "7", "{", "[" * 100_000])
def test_arguments_that_are_no_object_stay_text(text: str) -> None:
    assert ToolCall("c", "f", text).opened().arguments == text


@given(turns())
def test_items_written_for_the_responses_api_are_read_as_they_were(messages: list[Message]) -> None:
    """What an assistant said is one text there, and each of its calls an item of its own."""
    items = [item for message in messages for item in write_items(message)]
    assert [read_item(item).with_opened_calls() for item in items] == list(in_items(messages))


def in_items(messages: Iterable[Message]) -> Iterable[Message]:
    for message in messages:
        if message.role == "assistant":
            if message.blocks:
                yield Message("assistant", text_blocks("\n".join(message.texts)))
            yield from (Message("assistant", (), (call,)) for call in message.tool_calls)
        else:
            yield message


@pytest.mark.parametrize("content", [None, "", []])
def test_no_content_is_no_block(content: Any) -> None:
    assert read_message({"role": "user", "content": content}) == Message("user", ())


def test_what_a_text_part_says_besides_is_kept_and_does_not_count() -> None:
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    message = read_message({"role": "user", "content": [part]})
    assert message == Message("user", text_blocks("a"))
    assert write_items(message)[0]["content"] == [{**part, "type": "input_text"}]


def test_thoughts_stand_first_and_do_not_go_to_the_responses_api() -> None:
    message = read_message({"role": "assistant", "content": "so", "reasoning_content": "hm"})
    assert message.blocks == (Block("thinking", "hm"), Block("text", "so"))
    assert write_message(message) == {"role": "assistant", "reasoning_content": "hm", "content": "so"}
    assert write_items(message) == [{"type": "message", "role": "assistant", "content": "so"}]
    several = replace(message, blocks=(Block("thinking", "one"), Block("thinking", "two")))
    assert write_message(several)["reasoning_content"] == "one\ntwo"


def test_media_are_written_by_their_names() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = read_message({"role": "user", "content": [image]})
    assert write_message(message)["content"] == message.texts[0]
    assert message.texts[0].startswith("image ")
    with pytest.raises(PromptError, match="'image_url' cannot be sent to the responses API"):
        write_items(message)


def test_an_item_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(PromptError, match="An item of type 'computer_call' cannot be read"):
        read_item({"type": "computer_call"})


@pytest.mark.parametrize(
    ("message", "holds"),
    [
        ({"role": "tool", "content": "x"}, True),
        ({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "t"}]}, True),
        ({"role": "user", "content": "tool_result"}, False),
        ({"role": "assistant", "content": None}, False),
    ],
)
def test_a_tools_result_is_known_in_either_form(message: dict[str, Any], holds: bool) -> None:
    assert holds_result(message) is holds


@given(st.lists(st.text("ab", min_size=1), max_size=3))
def test_tools_are_narrowed_by_name(names: list[str]) -> None:
    choice = allowed_tools(names)
    if isinstance(choice, str):
        assert (choice, names) == ("none", [])
    else:
        assert [tool["function"]["name"] for tool in choice["allowed_tools"]["tools"]] == names


SAID = {"type": "message", "role": "assistant", "content": "I look."}
CALLS = [{"type": "function_call", "call_id": name, "name": name, "arguments": "{}"} for name in ("web", "map")]
GAVE: list[dict[str, Any]] = [{"type": "function_call_output", "call_id": name, "output": "1"} for name in ("web", "map")]
ASKED: dict[str, Any] = {"role": "user", "content": "go"}


@pytest.mark.parametrize(
    ("items", "roles"),
    [
        ([ASKED, SAID, *CALLS, *GAVE], ["user", "assistant", "tool", "tool"]),
        ([ASKED, *CALLS, *GAVE], ["user", "assistant", "tool", "tool"]),
        ([ASKED, SAID, CALLS[0], GAVE[0]], ["user", "assistant", "tool"]),
        ([ASKED, SAID, SAID, ASKED], ["user", "assistant", "user"]),
        ([ASKED, CALLS[0], SAID, CALLS[1], *GAVE], ["user", "assistant", "assistant", "tool", "tool"]),
        ([ASKED, ASKED], ["user", "user"]),
    ],
)
def test_what_the_assistant_says_and_calls_in_a_row_is_one_message(items: list[Any], roles: list[str]) -> None:
    read = read_items(items)
    assert [message.role for message in read.messages] == roles
    for item, (message, block) in zip(items, read.places, strict=True):
        found = read.messages[message]
        piece = [*found.texts, *(call.name for call in found.tool_calls)][block]
        assert piece == item.get("content", item.get("output", item.get("name")))


def test_items_and_messages_of_the_chat_api_are_the_same_conversation() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("web", "map")]
    chat: list[dict[str, Any]] = [
        ASKED,
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        *({"role": "tool", "tool_call_id": name, "content": "1"} for name in ("web", "map")),
    ]
    items = [ASKED, SAID, *CALLS, *GAVE]
    assert [read_message(message).with_opened_calls() for message in chat] == list(read_items(items).messages)


@pytest.mark.parametrize("cut", range(1, 7))
def test_items_behind_a_history_are_read_as_if_all_came_at_once(cut: int) -> None:
    items = [ASKED, SAID, *CALLS, *GAVE, SAID]
    assert read_items(items[cut:], read_items(items[:cut]).messages).messages == read_items(items).messages
