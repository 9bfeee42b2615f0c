"""Neutral answers as messages and events, checked with the types of Anthropic's SDK."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic.types
import pytest
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from foreword.account import Account, Source
from foreword.prompt.vendor_forms.reasoning import write_signature
from foreword.server.anthropic.answers import Head, events, message
from foreword.serving.neutral import Answer, Changed, Choice, Diagnosis, TokenUsage, Update
from serving.choices import choices

HEAD = Head("msg_1", "tiny", 8)


def usage(output: int = 3, cached: int = 0, shared: int = 0, **more: Any) -> TokenUsage:
    sources = {Source.CACHED: cached, Source.SHARED_IN_FLIGHT: shared, Source.COMPUTED: 100 - cached - shared}
    return TokenUsage(Account(100, sources), output, **more)


def whole(choice: Choice, used: TokenUsage | None = None, diagnosis: Diagnosis | None = None) -> anthropic.types.Message:
    body = message(HEAD, Answer((choice,), used or usage(), diagnosis))
    return TypeAdapter(anthropic.types.Message).validate_python(body, strict=False)


def stream(*updates: Update) -> list[dict[str, Any]]:
    async def feed() -> AsyncIterator[Update]:
        for update in updates:
            yield update

    async def collect() -> list[dict[str, Any]]:
        return [event async for event in events(HEAD, feed())]

    got = asyncio.run(collect())
    for event in got:
        TypeAdapter(RawMessageStreamEvent).validate_python(event)
    return got


def test_a_whole_message() -> None:
    got = whole(Choice(0, ("Hello",), (1, 2), "stop"))
    assert got.content[0].type == "text"
    assert (got.id, got.model, got.role, got.content[0].text) == ("msg_1", "tiny", "assistant", "Hello")
    assert (got.stop_reason, got.stop_sequence, got.diagnostics) == ("end_turn", None, None)


@pytest.mark.parametrize(
    ("finish", "stop", "output", "ending"),
    [
        ("stop", None, 3, ("end_turn", None)),
        ("stop", 17, 3, ("end_turn", None)),
        ("stop", "END", 3, ("stop_sequence", "END")),
        ("length", None, 8, ("max_tokens", None)),
        ("length", None, 7, ("model_context_window_exceeded", None)),
    ],
)
def test_why_it_ended(finish: str, stop: Any, output: int, ending: tuple[str, str | None]) -> None:
    got = whole(Choice(0, ("x",), (), finish, stop), usage(output))
    assert (got.stop_reason, got.stop_sequence) == ending


def test_no_text_is_no_content() -> None:
    assert whole(Choice(0, (), (), "stop"), usage(1)).content == []


def test_the_usage_adds_up_to_the_prompt() -> None:
    used = usage(cached=40, shared=10, written_by_ttl={3600.0: 20, 300.0: 5})
    got = whole(Choice(0, ("x",), (), "stop"), used).usage
    assert (got.cache_read_input_tokens, got.cache_creation_input_tokens, got.input_tokens) == (50, 25, 25)
    assert got.cache_creation is not None
    assert (got.cache_creation.ephemeral_1h_input_tokens, got.cache_creation.ephemeral_5m_input_tokens) == (20, 5)
    assert got.output_tokens == 3


def test_a_miss_without_marks_says_zero_not_nothing() -> None:
    got = whole(Choice(0, ("x",), (), "stop")).usage
    assert (got.cache_read_input_tokens, got.cache_creation_input_tokens, got.input_tokens) == (0, 0, 100)


@pytest.mark.parametrize(
    ("changed", "kind", "counts"),
    [
        (Changed.MODEL, "model_changed", True),
        (Changed.TOOLS, "tools_changed", True),
        (Changed.SYSTEM, "system_changed", True),
        (Changed.MESSAGES, "messages_changed", True),
        (Changed.NOT_FOUND, "previous_message_not_found", False),
        (Changed.SETTINGS, "unavailable", False),
        (Changed.UNKNOWN, "unavailable", False),
    ],
)
def test_diagnostics(changed: Changed, kind: str, counts: bool) -> None:
    got = whole(Choice(0, ("x",), (), "stop"), diagnosis=Diagnosis(changed, missed_tokens=20, lost_tokens=12)).diagnostics
    assert got is not None and got.cache_miss_reason is not None
    assert got.cache_miss_reason.type == kind
    assert getattr(got.cache_miss_reason, "cache_missed_input_tokens", None) == (12 if counts else None)


def test_no_divergence_is_no_diagnosis() -> None:
    assert whole(Choice(0, ("x",), (), "stop"), diagnosis=Diagnosis(Changed.NOTHING)).diagnostics is None


def test_a_stream_of_events() -> None:
    early, late = usage(1, cached=40), usage(3, cached=40)
    got = stream(
        Update((Choice(0, (), (5,)),), early, False, Diagnosis(Changed.SYSTEM, lost_tokens=7)),
        Update((Choice(0, ("Hel",), (6,)),), late, False),
        Update((Choice(0, ("lo",), (7,), "stop", "END"),), late, True),
    )
    assert [event["type"] for event in got] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, end = got[0]["message"], got[5]
    assert (start["content"], start["stop_reason"], start["usage"]["cache_read_input_tokens"]) == ([], None, 40)
    assert start["diagnostics"]["cache_miss_reason"] == {"type": "system_changed", "cache_missed_input_tokens": 7}
    assert [event["delta"]["text"] for event in got[2:4]] == ["Hel", "lo"]
    assert end["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert end["usage"] == {
        "input_tokens": 60,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 40,
        "output_tokens": 3,
    }


CALLS = (
    'Now.\n<tool_call>{"name": "jump", "arguments": {"over": "dog"}}</tool_call>\n<tool_call>{"name": "jump"}</tool_call>'
)


def test_the_uses_of_tools_are_blocks() -> None:
    (choice,) = choices([CALLS], ["jump"])
    got = whole(choice)
    assert [(block.type, getattr(block, "input", None)) for block in got.content] == [
        ("text", None),
        ("tool_use", {"over": "dog"}),
        ("tool_use", {}),
    ]
    assert got.stop_reason == "tool_use"
    assert len({block.id for block in got.content if block.type == "tool_use"}) == 2
    (cut,) = choices([CALLS], ["jump"], "length")
    assert whole(cut, usage(8)).stop_reason == "max_tokens"


def test_without_tools_a_call_is_text() -> None:
    (choice,) = choices([CALLS])
    got = whole(choice)
    assert got.content[0].type == "text"
    assert (got.content[0].text, got.stop_reason) == (CALLS, "end_turn")


@pytest.mark.parametrize("pieces", [[CALLS], list(CALLS)])
def test_the_uses_of_tools_in_a_stream(pieces: list[str]) -> None:
    made = choices([*pieces, ""], ["jump"])
    got = stream(*(Update((choice,), usage(), choice.finish_reason is not None) for choice in made))
    blocks = [(event["index"], event["content_block"]["type"]) for event in got if event["type"] == "content_block_start"]
    assert blocks == [(0, "text"), (1, "tool_use"), (2, "tool_use")]
    assert [event["index"] for event in got if event["type"] == "content_block_stop"] == [0, 1, 2]
    inputs = [event["delta"]["partial_json"] for event in got if event.get("delta", {}).get("type") == "input_json_delta"]
    assert "".join(inputs) == '{"over": "dog"}{}'
    assert (len(inputs) > 4) == (len(pieces) > 1), "as they come"
    assert got[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_stream_without_text_has_no_block() -> None:
    got = stream(Update((Choice(0, (), (), "length"),), usage(0), True))
    assert [event["type"] for event in got] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize("pieces", [["<think>Hm.\n</think>\n" + CALLS], list("<think>Hm.\n</think>\n" + CALLS)])
def test_thoughts_are_blocks_with_a_signature(pieces: list[str]) -> None:
    made = choices([*pieces, ""], ["jump"])
    got = stream(*(Update((choice,), usage(), choice.finish_reason is not None) for choice in made))
    blocks = [event["content_block"]["type"] for event in got if event["type"] == "content_block_start"]
    assert blocks == ["thinking", "text", "tool_use", "tool_use"]
    deltas = [event["delta"] for event in got if event["type"] == "content_block_delta" and event["index"] == 0]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Hm."
    assert deltas[-1] == {"type": "signature_delta", "signature": write_signature("Hm.")}
    thinking = whole(choices(["".join(pieces)], ["jump"])[0]).content[0]
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Hm.", write_signature("Hm."))
