"""An Anthropic prompt as a neutral conversation.

Chat templates know one message for each tool result and put an assistant's tool calls behind its text; the vendor has both
as blocks of a turn. So a turn may become several messages, and turns of one role that follow each other become one.
"""

from dataclasses import dataclass, field
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import ChatPrompt, Message, ToolCall, text_blocks
from foreword.server.anthropic.marks import Piece, resolve_marks
from foreword.server.anthropic.schema import (
    ContentBlock,
    CountTokensBody,
    MessageParam,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)


def conversation(body: CountTokensBody) -> ChatPrompt:
    """The prompt of a body. PromptError for what no model could be given, or for marks against the rules."""
    if body.messages[-1].role == "assistant":
        raise PromptError(
            "messages: the last message has the role 'assistant'; this server cannot go on with a begun answer. End with a "
            "message of the user."
        )
    builder = _Builder()
    for number, tool in enumerate(body.tools):
        builder.pieces.append(Piece(f"tools.{number}", None, number, tool.cache_control))
    for number, block in enumerate(body.system):
        if block.text or block.cache_control:
            builder.add("system", f"system.{number}", block)
    for index, message in enumerate(body.messages):
        _add_turn(builder, index, message)
    return ChatPrompt(
        messages=tuple(draft.message() for draft in builder.drafts),
        tools=tuple(_function(tool) for tool in body.tools),
        marks=resolve_marks(builder.pieces, body.cache_control),
    )


@dataclass
class _Draft:
    """A message that is being put together."""

    role: str
    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str | None = None
    name: str | None = None

    def message(self) -> Message:
        return Message(self.role, text_blocks(*self.texts), tuple(self.calls), self.call_id, self.name)


class _Builder:
    """Drafts of messages, the pieces in the order of the prompt, and the tool uses so far (name by id)."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.pieces: list[Piece] = []
        self.uses: dict[str, str] = {}

    def add(self, role: str, place: str, block: ContentBlock) -> None:
        """Add the next block of the prompt; ``place`` is where it stands in the body."""
        if isinstance(block, TextBlock):
            self._add_text(self._draft(role), place, block)
        elif isinstance(block, ToolUseBlock):
            self._add_use(role, place, block)
        else:
            self._add_result(role, place, block)

    def _draft(self, role: str) -> _Draft:
        """The draft that a text of this role goes into: the last one, if it is of this role and has no tool calls yet."""
        if not self.drafts or self.drafts[-1].role != role or self.drafts[-1].calls:
            self.drafts.append(_Draft(role))
        return self.drafts[-1]

    def _add_text(self, draft: _Draft, place: str, block: TextBlock, *, nested: bool = False) -> None:
        if block.text:
            draft.texts.append(block.text)
        here, at = len(self.drafts) - 1, max(len(draft.texts) - 1, 0)
        self.pieces.append(Piece(place, here, at, block.cache_control, empty=not block.text, nested=nested))

    def _add_use(self, role: str, place: str, block: ToolUseBlock) -> None:
        if role != "assistant":
            raise PromptError(f"{place}: a tool_use block stands in a message of the {role}; only the assistant uses tools.")
        if block.id in self.uses:
            raise PromptError(f"{place}.id: {block.id!r} is the id of two tool_use blocks; each needs its own.")
        self.uses[block.id] = block.name
        if not self.drafts or self.drafts[-1].role != role:
            self.drafts.append(_Draft(role))
        draft = self.drafts[-1]
        draft.calls.append(ToolCall(block.id, block.name, block.input))
        at = len(draft.texts) + len(draft.calls) - 1
        self.pieces.append(Piece(place, len(self.drafts) - 1, at, block.cache_control))

    def _add_result(self, role: str, place: str, block: ToolResultBlock) -> None:
        if role != "user":
            raise PromptError(f"{place}: a tool_result block stands in a message of the {role}; it belongs to the user's.")
        name = self.uses.get(block.tool_use_id)
        if name is None:
            raise PromptError(
                f"{place}.tool_use_id: {block.tool_use_id!r} answers no tool_use block before it. Send the assistant's "
                f"message with that tool_use first."
            )
        draft = _Draft("tool", call_id=block.tool_use_id, name=name)
        self.drafts.append(draft)
        for number, text in enumerate(block.content):
            self._add_text(draft, f"{place}.content.{number}", text, nested=True)
        if block.is_error:
            draft.texts[:1] = [f"Error: {draft.texts[0] if draft.texts else ''}"]
        self.pieces.append(Piece(place, len(self.drafts) - 1, max(len(draft.texts) - 1, 0), block.cache_control))


def _add_turn(builder: _Builder, index: int, message: MessageParam) -> None:
    for number, block in enumerate(message.content):
        place = f"messages.{index}.content.{number}"
        if message.role == "system" and not isinstance(block, TextBlock):
            raise PromptError(f"{place}: a {block.type} block stands in a message of the system, which is text only.")
        builder.add(message.role, place, block)


def _function(tool: Tool) -> dict[str, Any]:
    """A tool in the form that chat templates know."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": {**function, "parameters": tool.input_schema}}
