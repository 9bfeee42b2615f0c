"""Neutral answers as Anthropic messages, whole or as a stream of events.

What the usage says, with marks or without:

    cache_read_input_tokens        tokens whose KV was there, or was being computed for somebody else: a hit needs no mark
    cache_creation_input_tokens    tokens computed now that stand under a mark, each in the TTL of the first mark behind it
    input_tokens                   tokens computed now that no mark covers

They add up to the prompt. A hosted cache lets marked prompts hit marked prefixes only; here every shared prefix is read, and
counted as read. So the first mark on a prefix that was cached without one writes nothing.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.reasoning import write_signature
from foreword.serving.neutral import Answer, Changed, Choice, Diagnosis, TokenUsage, Update
from foreword.serving.tool_forms.base import CallBegin, CallEnd, CallText, Thought, ToolUse

MISS_REASONS = {
    Changed.MODEL: "model_changed",
    Changed.TOOLS: "tools_changed",
    Changed.SYSTEM: "system_changed",
    Changed.MESSAGES: "messages_changed",
    Changed.NOT_FOUND: "previous_message_not_found",
    Changed.SETTINGS: "unavailable",
    Changed.UNKNOWN: "unavailable",
}
WITHOUT_COUNT = ("previous_message_not_found", "unavailable")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an answer before it begins: its id, the model as it was asked for, how many tokens it may have."""

    message_id: str
    model: str
    max_tokens: int


def message(head: Head, answer: Answer) -> Json:
    """A whole message."""
    choice = answer.choices[0]
    content: list[Json] = []
    for part in choice.whole_parts:
        if isinstance(part, ToolUse):
            content.append({**_tool_use(part.name, part.call_id), "input": json.loads(part.arguments or "{}")})
        elif isinstance(part, Thought):
            content.append({"type": "thinking", "thinking": part.text, "signature": write_signature(part.text)})
        else:
            content.append({"type": "text", "text": part, "citations": None})
    ending = _ending(head, choice, answer.usage)
    return _message(head, content, ending, answer.usage, answer.diagnosis)


async def events(head: Head, updates: AsyncIterator[Update]) -> AsyncIterator[Json]:
    """The events of a stream, each named by its ``type``: a message's start, its blocks one after the other, its end."""
    blocks = None
    async for update in updates:
        if blocks is None:
            blocks = _Blocks()
            yield {"type": "message_start", "message": _message(head, [], _NO_ENDING, update.usage, update.diagnosis)}
        for choice in update.choices:
            for event in blocks.feed(choice):
                yield event
            if choice.finish_reason is not None:
                ending = _ending(head, choice, update.usage)
                yield {"type": "message_delta", "delta": ending, "usage": _cumulative(update.usage)}
                yield {"type": "message_stop"}


class _Blocks:
    """The content blocks of a stream, each as it comes."""

    def __init__(self) -> None:
        self._index = 0  # of the block that is open, or of the next one
        self._open: str | None = None  # its type
        self._thought: list[str] = []

    def feed(self, choice: Choice) -> Iterator[Json]:
        """The events that a choice's new parts bring."""
        for part in choice.parts:
            if isinstance(part, CallBegin):
                yield from self._start(_tool_use(part.name, part.call_id))
            elif isinstance(part, CallText):
                yield self._delta({"type": "input_json_delta", "partial_json": part.text})
            elif isinstance(part, CallEnd):
                yield from self._close()
            elif isinstance(part, Thought):
                if self._open != "thinking":
                    yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
                self._thought.append(part.text)
                yield self._delta({"type": "thinking_delta", "thinking": part.text})
            else:
                if self._open != "text":
                    yield from self._start({"type": "text", "text": "", "citations": None})
                yield self._delta({"type": "text_delta", "text": part})
        if choice.finish_reason is not None:
            yield from self._close()

    def _start(self, block: Json) -> Iterator[Json]:
        yield from self._close()
        self._open = block["type"]
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[Json]:
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": write_signature("".join(self._thought))})
            self._thought = []
        yield {"type": "content_block_stop", "index": self._index}
        self._open = None
        self._index += 1


def _tool_use(name: str, call_id: str | None) -> Json:
    """A use of a tool, without its input."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


def _message(head: Head, content: list[Json], ending: Json, usage: TokenUsage, diagnosis: Diagnosis | None) -> Json:
    return {
        "id": head.message_id,
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        **ending,
        "usage": _usage(usage),
        "diagnostics": _diagnostics(diagnosis),
    }


def _usage(usage: TokenUsage) -> Json:
    written = usage.written_by_ttl
    return {
        **_cumulative(usage),
        "cache_creation": {
            f"ephemeral_{word}_input_tokens": written.get(seconds, 0) for word, seconds in ttl.ANTHROPIC.items()
        },
        "service_tier": "standard",
    }


def _cumulative(usage: TokenUsage) -> Json:
    """The counts that are repeated at the end of a stream."""
    created = sum(usage.written_by_ttl.values())
    return {
        "input_tokens": usage.prompt_tokens - usage.reused - created,
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": usage.reused,
        "output_tokens": usage.output_tokens,
    }


_NO_ENDING: Json = {"stop_reason": None, "stop_sequence": None}


def _ending(head: Head, choice: Choice, usage: TokenUsage) -> Json:
    """Why the answer ended, in the vendor's words."""
    if choice.finish_reason == "length":
        full = usage.output_tokens >= head.max_tokens
        return {"stop_reason": "max_tokens" if full else "model_context_window_exceeded", "stop_sequence": None}
    if isinstance(choice.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_reason}
    return {"stop_reason": "tool_use" if choice.calls else "end_turn", "stop_sequence": None}


def _diagnostics(diagnosis: Diagnosis | None) -> Json | None:
    """Why the earlier prompt could not be reused; None when it was not asked for, or was reused."""
    if diagnosis is None or diagnosis.changed is Changed.NOTHING:
        return None
    reason: Json = {"type": MISS_REASONS[diagnosis.changed]}
    if reason["type"] not in WITHOUT_COUNT:
        reason["cache_missed_input_tokens"] = diagnosis.lost_tokens
    return {"cache_miss_reason": reason}
