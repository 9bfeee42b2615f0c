"""A conversation as it stands at the end, as agents keep it: before each of the assistant's messages stood a request."""

from collections.abc import Iterator
from typing import Any

from foreword.audit.readers.base import Record
from foreword.audit.readers.conversation_forms import message_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.request import LoggedRequest

ANTHROPIC_BLOCKS = frozenset({"tool_use", "tool_result", "thinking"})


def requests_of(messages: list[Any], line: int, kind: str, model: str = "") -> Iterator[LoggedRequest]:
    """A request for each of the assistant's messages, with all that stood before it."""
    said = [message for message in map(message_of, messages) if message is not None]
    vendor: dict[str, Any] = {"system": []} if any(_is_anthropic(message) for message in said) else {}
    for i, message in enumerate(said):
        if message["role"] == "assistant" and i:
            body: dict[str, Any] = {"model": model, **vendor, "messages": said[:i]}
            if vendor and said[0]["role"] == "system":
                body |= {"system": said[0].get("content"), "messages": said[1:i]}
            yield request_of(body, line, Around(kind=kind, model=model))


def _is_anthropic(message: Record) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") in ANTHROPIC_BLOCKS for block in content
    )
