"""Messages in the form of Anthropic's messages API.

Chat templates know one message for each tool result and put an assistant's tool calls behind its text; the vendor has both
as blocks of a turn. So a turn may become several messages, and turns of one role that follow each other become one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import Block, Message, ToolCall
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.blocks import read_block, write_block
from foreword.prompt.vendor_forms.tools import read_call

MAX_MARKS = 4
LOOK_BACK = 20
"""Content blocks, that of a mark counted, in which an earlier mark is found."""


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """Where a content block of the body, or one text within a tool result (``nested``), came to stand.

    path
        Its place in the body, for people: ``messages.3.content.0``.
    message, block
        Its place among the messages; see MarkAt.
    ttl
        The lifetime of the mark on it (``cache_control``), in the vendor's word; None if it has no mark.
    """

    path: str
    message: int | None
    block: int
    ttl: str | None
    empty: bool = False
    nested: bool = False


def mark_ttl(marked: Mapping[str, Any]) -> str | None:
    """The vendor's word for the lifetime of the mark on a block, a tool or a whole body; None if there is no mark."""
    control = marked.get("cache_control")
    return None if control is None else str(control.get("ttl", ttl.ANTHROPIC_DEFAULT))


def read_prompt(body: Mapping[str, Any]) -> tuple[tuple[Message, ...], list[BlockPlace]]:
    """The system prompt and the turns of a body as messages, and all places in the order of the prompt, tools first.

    ``body``: ``tools``, ``system`` and ``messages``, contents as lists of blocks. PromptError for what no model could be
    given: a use of a tool that is not the assistant's, an id used twice, a result without its use.
    """
    reader = _Reader()
    for number, tool in enumerate(body.get("tools", ())):
        reader.places.append(BlockPlace(f"tools.{number}", None, number, mark_ttl(tool)))
    for number, block in enumerate(body.get("system", ())):
        if block["text"] or block.get("cache_control"):
            reader.add("system", f"system.{number}", block)
    for index, message in enumerate(body["messages"]):
        role = message["role"]
        for number, block in enumerate(message["content"]):
            place = f"messages.{index}.content.{number}"
            if role == "system" and block["type"] != "text":
                raise PromptError(f"{place}: a {block['type']} block stands in a message of the system, which is text only.")
            reader.add(role, place, block)
    return tuple(draft.message() for draft in reader.drafts), reader.places


def write_turn(message: Message) -> tuple[str, list[dict[str, Any]]]:
    """Role and content blocks of a message; PromptError for what has no place among Anthropic's messages.

    What the assistant thought stays behind, unless it came in the vendor's own blocks.
    """
    blocks = [write_block(block) for block in message.blocks if block.kind != "thinking" or block.source is not None]
    if message.role == "tool":
        return "user", [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": blocks}]
    if message.role not in ("user", "assistant"):
        raise PromptError(
            f"A message of role {message.role!r} stands in the history; Anthropic's API takes user, assistant and tool."
        )
    return message.role, [*blocks, *map(_tool_use, message.tool_calls)]


def join_turns(turns: Iterable[tuple[str, Sequence[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Messages of roles in turn: blocks of one role that follow one another become one message."""
    messages: list[dict[str, Any]] = []
    for role, blocks in turns:
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": list(blocks)})
    return messages


@dataclass
class _Draft:
    """A message that is being put together."""

    role: str
    blocks: list[Block] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str | None = None
    name: str | None = None

    def message(self) -> Message:
        return Message(self.role, tuple(self.blocks), tuple(self.calls), self.call_id, self.name)


class _Reader:
    """Drafts of messages, the places in the order of the prompt, and the tool uses so far (name by id)."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.places: list[BlockPlace] = []
        self._uses: dict[str, str] = {}

    def add(self, role: str, place: str, block: Mapping[str, Any]) -> None:
        """Add the next block of the prompt; ``place`` is where it stands in the body."""
        if block["type"] == "tool_use":
            self._add_use(role, place, block)
        elif block["type"] == "tool_result":
            self._add_result(role, place, block)
        else:
            self._add_block(self._draft(role), place, block)

    def _draft(self, role: str) -> _Draft:
        """The draft that a text of this role goes into: the last one, if it is of this role and has no tool calls yet."""
        if not self.drafts or self.drafts[-1].role != role or self.drafts[-1].calls:
            self.drafts.append(_Draft(role))
        return self.drafts[-1]

    def _add_block(self, draft: _Draft, place: str, given: Mapping[str, Any], *, nested: bool = False) -> None:
        block = read_block(given)
        if block.text:
            draft.blocks.append(block)
        self._note(place, len(draft.blocks) - 1, given, empty=not block.text, nested=nested)

    def _add_use(self, role: str, place: str, block: Mapping[str, Any]) -> None:
        if role != "assistant":
            raise PromptError(f"{place}: a tool_use block stands in a message of the {role}; only the assistant uses tools.")
        call = read_call(block)
        if call.call_id in self._uses:
            raise PromptError(f"{place}.id: {call.call_id!r} is the id of two tool_use blocks; each needs its own.")
        self._uses[call.call_id] = call.name
        if not self.drafts or self.drafts[-1].role != role:
            self.drafts.append(_Draft(role))
        draft = self.drafts[-1]
        draft.calls.append(call)
        self._note(place, len(draft.blocks) + len(draft.calls) - 1, block)

    def _add_result(self, role: str, place: str, block: Mapping[str, Any]) -> None:
        if role != "user":
            raise PromptError(f"{place}: a tool_result block stands in a message of the {role}; it belongs to the user's.")
        call_id = block["tool_use_id"]
        name = self._uses.get(call_id)
        if name is None:
            raise PromptError(
                f"{place}.tool_use_id: {call_id!r} answers no tool_use block before it. Send the assistant's "
                f"message with that tool_use first."
            )
        draft = _Draft("tool", call_id=call_id, name=name)
        self.drafts.append(draft)
        for number, inner in enumerate(block.get("content", ())):
            self._add_block(draft, f"{place}.content.{number}", inner, nested=True)
        if block.get("is_error"):
            draft.blocks[:1] = [Block("text", f"Error: {draft.blocks[0].text if draft.blocks else ''}")]
        self._note(place, len(draft.blocks) - 1, block)

    def _note(self, place: str, at: int, given: Mapping[str, Any], *, empty: bool = False, nested: bool = False) -> None:
        """Note where a block came to stand: at block ``at`` of the last draft, or at its first, which is yet to come."""
        self.places.append(BlockPlace(place, len(self.drafts) - 1, max(at, 0), mark_ttl(given), empty, nested))


def _tool_use(call: ToolCall) -> dict[str, Any]:
    arguments = call.arguments
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise PromptError(f"The arguments of a call to {call.name!r} are not JSON: {error}") from error
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": arguments}
