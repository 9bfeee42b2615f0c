"""A conversation in nobody's form: messages of blocks, tools, marks. ``vendor_forms`` reads and writes vendors' forms."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SYSTEM_ROLES = ("system", "developer")
"""Roles of the messages that make the system prompt where they lead the conversation."""

Tool = Mapping[str, Any]
"""A tool as a function, ``{"type": "function", "function": {"name", "description", "parameters"}}``: what chat templates
know. A mapping, because what else a tool says and the order of its keys are part of the prompt."""


MessageDict = Mapping[str, Any]
"""A message in the form of the chat completions API, which is also what chat templates take."""
ToolDict = Mapping[str, Any]
"""A tool in any vendor's form."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a message's content.

    kind
        ``text``, ``thinking``, ``image``, ``file``, ``audio``, ``tool_use``, ``tool_result``; else the vendor's own word.
    text
        What the model reads; of an image or file a name that is the same for the same bytes.
    source
        The block as the vendor has it, where it says more than its text. Not compared: marks and the like are no content.
    """

    kind: str
    text: str
    source: Mapping[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, made by the assistant. ``arguments``: a JSON object, or text where they came as text."""

    call_id: str
    name: str
    arguments: Any

    def opened(self) -> "ToolCall":
        """The call with arguments that are the JSON text of an object as that object."""
        if not isinstance(self.arguments, str):
            return self
        try:
            value = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return self
        return replace(self, arguments=value) if isinstance(value, dict) else self


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation; ``role`` is system, developer, user, assistant or tool.

    Its parts stand in this order: thinking, the other blocks, tool calls. ``tool_calls`` belongs to an assistant,
    ``tool_call_id`` to a tool's result; ``name`` is the speaker's or the tool's, where known.
    """

    role: str
    blocks: tuple[Block, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the model reads of each block."""
        return tuple(block.text for block in self.blocks)

    def with_opened_calls(self) -> "Message":
        """The message with the arguments of its calls opened: two that differ only in how JSON is spelt are the same."""
        return replace(self, tool_calls=tuple(call.opened() for call in self.tool_calls)) if self.tool_calls else self


@dataclass(frozen=True, slots=True)
class MarkAt:
    """A mark at the end of a part of the prompt: the prefix up to there is worth keeping for ``ttl_seconds``.

    message
        Index in ``ChatPrompt.messages``; None: in the tools.
    block
        Index in that message's blocks, tool calls counting as blocks after the others; or the index of the tool.
    looks_back_to
        Message and block of the first part whose earlier mark this one refreshes; None: any before it.
    """

    message: int | None
    block: int
    ttl_seconds: float
    looks_back_to: tuple[int | None, int] | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt as messages. The system prompt is the leading message (or messages) of one of the SYSTEM_ROLES.

    go_on
        The last message is an answer that has begun, for the model to go on with; there is no generation prompt then.
    template_options
        Further variables for the chat template, for instance ``enable_thinking``.
    left_out
        What was left out of it, in words, for explanations.
    moved
        What was moved from its system texts into its first turn.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    marks: tuple[MarkAt, ...] = ()
    add_generation_prompt: bool = True
    go_on: bool = False
    template_options: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


PromptForm = ChatPrompt | str | tuple[int, ...]
"""A conversation for the chat template, a text as it is, or token ids."""


def text_blocks(*texts: str) -> tuple[Block, ...]:
    """Texts as the blocks of a message."""
    return tuple(Block("text", text) for text in texts)


def tool_name(tool: ToolDict) -> str:
    """A tool's name, as a function or in a flat form (Anthropic's, the responses API's); empty if it has none."""
    function = tool.get("function")
    return str((function if isinstance(function, Mapping) else tool).get("name", ""))
