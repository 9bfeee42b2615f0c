"""A prompt as a client gives it, whatever dialect it came in: a conversation, a text or token ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an earlier answer made. ``arguments``: a dict where the client sent a JSON object, else its text."""

    call_id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; ``role`` is system, developer, user, assistant or tool, ``blocks`` are its texts.

    ``tool_calls`` belongs to an assistant, ``tool_call_id`` to a tool's result; ``name`` is the speaker's, where given.
    """

    role: str
    blocks: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class MarkAt:
    """A mark at the end of a piece of the prompt: the prefix up to there is worth keeping for ``ttl_seconds``.

    message
        Index in ``Conversation.messages``; None: in the tools.
    block
        Index in that message's blocks, tool calls counting as blocks after the texts; or the index of the tool.
    looks_back_to
        Message and block of the first piece whose earlier mark this one refreshes; None: any before it.
    """

    message: int | None
    block: int
    ttl_seconds: float
    looks_back_to: tuple[int | None, int] | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt as messages. The system prompt is the leading message (or messages) of role system or developer.

    tools
        Function tools in OpenAI's form, ``{"type": "function", "function": {"name", "description", "parameters"}}``: it is
        what chat templates know.
    template_options
        Further variables for the chat template, for instance ``enable_thinking``.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    marks: tuple[MarkAt, ...] = ()
    add_generation_prompt: bool = True
    template_options: Mapping[str, Any] = field(default_factory=dict)


PromptForm = Conversation | str | tuple[int, ...]
"""A conversation for the chat template, a text as it is, or token ids."""
