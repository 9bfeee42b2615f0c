"""Messages → segments → tokens: where in a rendered conversation each piece of it stands.

A conversation is made of pieces: each tool, each block of each message (its reasoning, its text parts, its tool calls, in
that order), and the generation prompt. How a template writes them is the template's affair, so their places are found by
experiment: the conversation is rendered once more with a small mark behind the text of every piece. If the text is the
same but for the marks, that is where the pieces end. A template that looks at the ends of texts is asked piece by piece.

What a template writes around a message (its header and footer) belongs to that message.
"""

import bisect
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from foreword.errors import PromptError
from foreword.prompt.chat import MessageDict, Tool, tool_name
from foreword.prompt.template import PromptTemplate
from foreword.prompt.texts import common_prefix
from foreword.prompt.vendor_forms.openai import REASONING

PieceKind = Literal["tool", "message", "generation_prompt"]
_PRIVATE_USE = range(0xE000, 0xF8FF)
_WHOLE_RENDERINGS = 16
"""Of a conversation, to see what is written after its messages; then parts of it have to do."""
_KNOWN_FOOTERS = 16
_PLACED_APART = 200
"""Renderings to find pieces that cannot be marked together; beyond that, a piece counts to its neighbour."""
_TOOLS_APART = 100
"""Tools whose ends are found one by one; those behind count to the last one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a conversation, at token positions ``start`` to ``end`` of the prompt (the end not included).

    ``index`` is the number of the tool or message, ``block`` that of the block within the message, both from 0; ``blocks``
    is how many the message has. ``name`` is the message's role, or the tool's name. A piece that the template leaves out
    has no tokens.
    """

    kind: PieceKind
    index: int
    block: int
    blocks: int
    name: str
    start: int
    end: int

    @property
    def label(self) -> str:
        """For people, who count from 1: ``system, block 2``; ``message 5 (user)``; ``tool 3 (search)``."""
        if self.kind == "generation_prompt":
            return "generation prompt"
        if self.kind == "tool":
            return f"tool {self.index + 1} ({self.name})"
        place = "system" if self.name == "system" and self.index == 0 else f"message {self.index + 1} ({self.name})"
        return place if self.blocks == 1 else f"{place}, block {self.block + 1}"


@dataclass(frozen=True)
class SegmentedPrompt:
    """A rendered conversation, its token ids, and its pieces in the order in which they stand in the prompt."""

    text: str
    token_ids: list[int]
    token_ends: list[int]
    pieces: tuple[Piece, ...]

    def piece_at(self, position: int) -> Piece | None:
        """The piece that the token at ``position`` belongs to; None past the end of the prompt."""
        return piece_at(self.pieces, position)

    def label_at(self, position: int) -> str:
        """Where the token at ``position`` stands, for people: ``system, block 2``."""
        return label_at(self.pieces, position)

    def end_of_tool(self, index: int) -> int:
        """Tokens up to the end of a tool (counted from 0)."""
        return self._end(f"tool {index}", [p for p in self.pieces if p.kind == "tool" and p.index == index])

    def end_of_message(self, index: int, block: int | None = None) -> int:
        """Tokens up to the end of a message, or of one of its blocks (both counted from 0)."""
        found = [p for p in self.pieces if p.kind == "message" and p.index == index and block in (None, p.block)]
        return self._end(f"message {index}" + ("" if block is None else f", block {block}"), found)

    def text_before(self, position: int) -> str:
        """The text of the first ``position`` tokens."""
        return self.text[: self.token_ends[position - 1]] if position else ""

    def _end(self, what: str, pieces: Sequence[Piece]) -> int:
        if not pieces:
            raise PromptError(f"The conversation has no {what}.")
        return max(piece.end for piece in pieces)


def piece_at(pieces: Sequence[Piece], position: int) -> Piece | None:
    """The piece that the token at ``position`` belongs to; None past the end of the prompt."""
    return next((piece for piece in pieces if piece.start <= position < piece.end), None)


def label_at(pieces: Sequence[Piece], position: int) -> str:
    """Where the token at ``position`` stands, for people: ``system, block 2``."""
    piece = piece_at(pieces, position)
    return piece.label if piece else "end of the prompt"


def segment(
    template: PromptTemplate,
    messages: Sequence[MessageDict],
    tools: Sequence[Tool] | None = None,
    add_generation_prompt: bool = True,
    go_on: bool = False,
    **variables: Any,
) -> SegmentedPrompt:
    """Render and tokenize a conversation, and find its pieces. Arguments and errors as PromptTemplate.render.

    Costs one tokenization and a bounded number of renderings, beside a short one for each tool and for each message behind
    which something new is written. A token that reaches over the end of a piece counts to the next one.
    """
    add_generation_prompt = add_generation_prompt and not go_on
    finder = _Finder(template, messages, tools, add_generation_prompt, go_on, variables)
    encoded = template.encode_with_ends(finder.text)
    ends = finder.ends()
    order = sorted(ends, key=lambda slot: (ends[slot], slot.kind != "tool", slot.index, slot.block))
    positions = [bisect.bisect_right(encoded.ends, ends[slot]) for slot in order]
    if positions and not add_generation_prompt:
        positions[-1] = len(encoded.ids)
    pieces = [
        Piece(slot.kind, slot.index, slot.block, slot.blocks, slot.name, start, end)
        for slot, (start, end) in zip(order, pairwise([0, *positions]), strict=True)
    ]
    if add_generation_prompt:
        pieces.append(Piece("generation_prompt", 0, 0, 1, "", pieces[-1].end, len(encoded.ids)))
    return SegmentedPrompt(finder.text, encoded.ids, encoded.ends, tuple(pieces))


@dataclass(frozen=True, slots=True)
class _Slot:
    """A piece whose place is looked for; ``field`` is the way to its last text in its message, empty if it has none."""

    kind: PieceKind
    index: int
    block: int
    blocks: int
    name: str
    field: tuple[str | int, ...]


class _Finder:
    """Finds the character positions at which the pieces of one conversation end."""

    def __init__(
        self,
        template: PromptTemplate,
        messages: Sequence[MessageDict],
        tools: Sequence[Tool] | None,
        add_generation_prompt: bool,
        go_on: bool,
        variables: dict[str, Any],
    ):
        self._template = template
        self._variables = variables
        self._tools = tools
        self._generation = add_generation_prompt
        self._go_on = go_on
        self.text = template.render(messages, tools, add_generation_prompt, go_on=go_on, **variables)
        self._messages = [_with_parsed_arguments(message) for message in messages]
        self._last_user: list[int | None] = []  # for each message, the last one of the user up to it
        for index, message in enumerate(self._messages):
            before = self._last_user[-1] if self._last_user else None
            self._last_user.append(index if message.get("role") == "user" else before)
        self._open, self._close = _signs(self.text)
        self._mark = re.compile(f"{self._open}([0-9]+){self._close}")
        self._footers: dict[str, list[str]] = {}
        self._whole_left, self._apart_left = _WHOLE_RENDERINGS, _PLACED_APART

    def ends(self) -> dict[_Slot, int]:
        """Every piece with the number of characters up to its end."""
        slots = [slot for index, message in enumerate(self._messages) for slot in _slots(index, message)]
        found = self._places_of(slots)
        ends = self._tool_ends()
        last_tool = max(ends, key=lambda slot: slot.index, default=None)
        at = 0
        written: _Slot | None = None
        for slot in slots:
            if slot.block == 0:
                written = None
            if slot in found:
                at, written = found[slot], slot
            ends[slot] = at
            if slot.block == slot.blocks - 1 and written is not None:
                end = self._after_footer(written, at)
                if last_tool is not None and at < ends[last_tool] <= end:
                    ends[last_tool] = end  # the tools are written inside this message, behind its own text
                else:
                    ends[slot] = at = end
        return ends

    def _places_of(self, slots: Sequence[_Slot]) -> dict[_Slot, int]:
        """Where the texts of pieces end, as far as it can be found: together, or else in halves."""
        found = self._places(slots)
        if found is not None or len(slots) < 2 or self._apart_left <= 0:
            return found or {}
        self._apart_left -= 2
        middle = len(slots) // 2
        return {**self._places_of(slots[:middle]), **self._places_of(slots[middle:])}

    def _places(self, slots: Sequence[_Slot]) -> dict[_Slot, int] | None:
        """Where the texts of some pieces end, by a mark behind each; None if the marks change the text otherwise."""
        messages = list(self._messages)
        for number, slot in enumerate(slots):
            if slot.field:
                messages[slot.index] = self._put_mark(messages[slot.index], slot.field, number)
        marked = self._render(messages, self._tools, self._generation, self._go_on)
        if marked is None or self._mark.sub("", marked) != self.text:
            return None
        places: dict[_Slot, int] = {}
        removed = 0
        for mark in self._mark.finditer(marked):
            places.setdefault(slots[int(mark[1])], mark.start() - removed)
            removed += len(mark[0])
        return places

    def _after_footer(self, slot: _Slot, at: int) -> int:
        """``at``, moved behind what the template writes after a message; one rendering for each form of it."""
        known = self._footers.setdefault(slot.name, [])
        for footer in known:
            if self.text.startswith(footer, at):
                return at + len(footer)
        alone = self._until(slot.index, self._put_mark(self._messages[slot.index], slot.field, 0))
        if alone is None or not (parts := self._mark.split(alone))[1:]:
            return at
        footer = self.text[at : at + common_prefix(self.text[at : at + len(parts[-1])], parts[-1])]
        if footer == parts[-1] and len(known) < _KNOWN_FOOTERS:
            known.append(footer)
            known.sort(key=len, reverse=True)
        return at + len(footer)

    def _until(self, index: int, message: MessageDict) -> str | None:
        """The conversation up to a message with a mark; after some of these only what a template may ask for before it."""
        if self._whole_left > 0:
            self._whole_left -= 1
            return self._render([*self._messages[:index], message], self._tools, generation=False)
        before = self._messages[index - 1 : index] if message.get("role") == "tool" else []
        asked = self._last_user[index]
        question = [] if asked is None or asked == index else [self._messages[asked]]
        return self._render([*question, *before, message], None if self._tools is None else [], generation=False)

    def _tool_ends(self) -> dict[_Slot, int]:
        """A tool ends where the text parts from one without the tools behind it; the last, from one with another tool."""
        tools = list(self._tools or ())
        slots = [_Slot("tool", index, 0, 1, tool_name(tool), ()) for index, tool in enumerate(tools)]
        if not tools:
            return {}
        more = self._render(self._messages, [*tools, _rename(tools[-1], self._open)], self._generation, self._go_on)
        last = 0 if more is None or more == self.text else common_prefix(self.text, more)
        head = self._shortest_head(last) if len(tools) > 1 and last else []
        ends: list[int] = []
        for count in range(1, min(len(tools), _TOOLS_APART)):
            cut = self._render(head, tools[:count], generation=False) if head else None
            ends.append(min(last, max(ends[-1:] or [0]) if cut is None else common_prefix(self.text, cut)))
        return dict(zip(slots, [*ends, *[last] * (len(tools) - len(ends))], strict=True))

    def _shortest_head(self, end: int) -> Sequence[MessageDict]:
        """The first messages, as few as give the text up to ``end``."""
        for count in (1, 2):
            text = self._render(self._messages[:count], self._tools, generation=False)
            if text is not None and text.startswith(self.text[:end]):
                return self._messages[:count]
        return self._messages

    def _put_mark(self, message: MessageDict, field: Sequence[str | int], number: int) -> MessageDict:
        marked: MessageDict = _replace(message, field, lambda text: _behind(text, f"{self._open}{number}{self._close}"))
        return marked

    def _render(
        self, messages: Sequence[MessageDict], tools: Sequence[Tool] | None, generation: bool, go_on: bool = False
    ) -> str | None:
        try:
            return self._template.render(messages, tools, generation, go_on=go_on, **self._variables)
        except PromptError:
            return None


def _signs(text: str) -> tuple[str, str]:
    """The beginning and the end of a mark: two signs that a text does not have; if it has all, words."""
    used = set(text)
    unused = [chr(code) for code in _PRIVATE_USE if chr(code) not in used][:2]
    if len(unused) == 2:
        return unused[0], unused[1]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]  # no text holds its own
    first, last = chr(_PRIVATE_USE[0]), chr(_PRIVATE_USE[-1])
    return f"{first}{digest}{first}", last


def _slots(index: int, message: MessageDict) -> Iterator[_Slot]:
    """The blocks of a message, in the order in which templates write them: reasoning, text parts, tool calls."""
    fields = list(_block_fields(message)) or [()]
    for block, field in enumerate(fields):
        yield _Slot("message", index, block, len(fields), str(message.get("role")), field)


def _block_fields(message: MessageDict) -> Iterator[tuple[str | int, ...]]:
    for name in REASONING:
        if isinstance(message.get(name), str):
            yield _if_text((name,), message[name])
            break
    content = message.get("content")
    if isinstance(content, str):
        if content or not message.get("tool_calls"):
            yield _if_text(("content",), content)
    else:
        for number, part in enumerate(content or ()):
            text = part.get("text") if isinstance(part, Mapping) else part
            yield _if_text(("content", number, "text") if isinstance(part, Mapping) else ("content", number), text)
    for number, call in enumerate(message.get("tool_calls") or ()):
        yield _call_field(number, call)


def _if_text(field: tuple[str | int, ...], text: Any) -> tuple[str | int, ...]:
    return field if isinstance(text, str) and text.strip() else ()


def _call_field(number: int, call: Any) -> tuple[str | int, ...]:
    """The way to the last text of a tool call: in its arguments, or its name."""
    inner, function = _function(call)
    inside = _last_leaf(function.get("arguments"))
    way: tuple[str | int, ...] = ("tool_calls", number, *inner)
    return _if_text((*way, "name"), function.get("name")) if inside is None else (*way, "arguments", *inside)


def _function(call: Any) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """What a tool call calls, and the way to it; nothing in a call of no known form."""
    if not isinstance(call, Mapping):
        return (), {}
    inner = call.get("function")
    return (("function",), inner) if isinstance(inner, Mapping) else ((), call)


def _last_leaf(value: Any) -> tuple[str | int, ...] | None:
    """The way to the last non-blank text in a JSON value; None if there is none."""
    if isinstance(value, str):
        return () if value.strip() else None
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, Sequence):
        items = list(enumerate(value))
    for key, item in reversed(items):
        inside = _last_leaf(item)
        if inside is not None:
            return (key, *inside)
    return None


def _with_parsed_arguments(message: MessageDict) -> MessageDict:
    """The message with tool-call arguments that are JSON text parsed, as they are rendered."""
    if not isinstance(message, Mapping) or not message.get("tool_calls"):
        return message
    for number, call in enumerate(message["tool_calls"]):
        inner, function = _function(call)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                parsed = json.loads(arguments or "{}")
            except ValueError:
                continue
            message = _replace(message, ("tool_calls", number, *inner, "arguments"), lambda _, parsed=parsed: parsed)
    return message


def _replace(value: Any, way: Sequence[str | int], change: Any) -> Any:
    """A copy of a JSON value in which what stands at the end of ``way`` is changed."""
    if not way:
        return change(value)
    key, *rest = way
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[key] = _replace(copy[key], rest, change)
    return copy


def _behind(text: str, mark: str) -> str:
    """The mark behind the last character that no template trims."""
    kept = len(text.rstrip())
    return text[:kept] + mark + text[kept:]


def _rename(tool: Tool, name: str) -> Tool:
    way = ("function", "name") if isinstance(tool.get("function"), Mapping) else ("name",)
    return _replace(tool, way[:-1], lambda function: {**function, way[-1]: name})  # type: ignore[no-any-return]
