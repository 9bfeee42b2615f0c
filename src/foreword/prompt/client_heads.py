"""What clients write at the head of every request anew: what means nothing is left out, other values are moved by option.

A line that is another one in each session stands before all that sessions have in common, so that nothing of it is found in
the cache.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from foreword.prompt.chat import SYSTEM_ROLES, Block, ChatPrompt, MarkAt, Message
from foreword.prompt.fitting import SYSTEM_CLOSE, SYSTEM_OPEN
from foreword.prompt.volatile import find_volatile


class ClientHeads(StrEnum):
    """``leave-out``: lines that are known to say nothing to a model are left out. ``move``: those too; and lines with
    today's date, the time or an id of the session are moved. ``keep``: the prompt is as it was sent."""

    LEAVE_OUT = "leave-out"
    MOVE = "move"
    KEEP = "keep"


KNOWN: Mapping[str, str] = {"x-anthropic-billing-header:": "a billing header"}
"""How lines begin that say nothing to a model, and what they are. Claude Code's: another suffix with each first prompt."""
TAILS: Mapping[str, str] = {"gitStatus:": "a git status"}
"""How a system text's last part begins that says how the work stands. Claude Code's: another one with each changed file."""
LONGEST_LINE = 240
"""Characters: a longer line says more than a value."""
_TAIL = re.compile("^(" + "|".join(map(re.escape, TAILS)) + ")", re.MULTILINE)
_Places = dict[tuple[int | None, int], tuple[int, int] | None]
_Change = Callable[[Block], Block | None]


def settled_heads(prompt: ChatPrompt, way: ClientHeads) -> ChatPrompt:
    """The conversation as an operator wants it; what was done is told in ``left_out`` and ``moved``."""
    if way is ClientHeads.KEEP:
        return prompt
    settled = without_client_heads(prompt)
    return with_values_moved(settled) if way is ClientHeads.MOVE else settled


def without_client_heads(prompt: ChatPrompt) -> ChatPrompt:
    """The conversation without lines of KNOWN at the head of its system texts; ``left_out`` names them. Marks keep their
    places; one that stood on nothing else is dropped."""
    names: list[str] = []
    changed = _lead_changed(prompt, lambda block: _without_head(block, names))
    return replace(changed, left_out=(*prompt.left_out, *names)) if names else prompt


def with_values_moved(prompt: ChatPrompt) -> ChatPrompt:
    """The conversation with what changes from session to session at the beginning of the first turn of the user, marked as
    the system's, in place of among its system texts; ``moved`` names it. There it stays as the conversation grows.

    What changes are short lines with a date, a time or an id by ``find_volatile``, and the TAILS.
    """
    if all(message.role != "user" for message in prompt.messages):
        return prompt
    taken: list[tuple[str, str]] = []
    changed = _lead_changed(prompt, lambda block: _without_values(block, taken))
    if not taken:
        return prompt
    at = next(index for index, message in enumerate(changed.messages) if message.role == "user")
    first = Block("text", SYSTEM_OPEN + "\n".join(text for text, _ in taken) + SYSTEM_CLOSE)
    turn = changed.messages[at]
    turn = replace(turn, blocks=(first, *turn.blocks))
    return replace(
        changed,
        messages=(*changed.messages[:at], turn, *changed.messages[at + 1 :]),
        marks=tuple(_behind(mark, at) for mark in changed.marks),
        moved=(*prompt.moved, *dict.fromkeys(name for _, name in taken)),
    )


def _lead_changed(prompt: ChatPrompt, change: _Change) -> ChatPrompt:
    """The conversation with the blocks of its leading system messages changed (None: dropped), and marks at their places."""
    messages: list[Message] = []
    places: _Places = {}
    lead = True
    for index, message in enumerate(prompt.messages):
        lead = lead and message.role in SYSTEM_ROLES
        kept = [change(block) if lead else block for block in message.blocks]
        blocks = tuple(block for block in kept if block is not None)
        gone = message.blocks and not blocks and not message.tool_calls
        at = -1
        for block in range(len(kept) + len(message.tool_calls)):
            at += block >= len(kept) or kept[block] is not None
            places[index, block] = None if gone or at < 0 else (len(messages), at)
        if not gone:
            messages.append(replace(message, blocks=blocks) if blocks != message.blocks else message)
    marks = tuple(moved for mark in prompt.marks if (moved := _moved(mark, places)) is not None)
    return replace(prompt, messages=tuple(messages), marks=marks)


def _without_head(block: Block, names: list[str]) -> Block | None:
    """A block without its first lines that are known; None if nothing is left of it. What was left out goes to ``names``."""
    text, found = block.text, False
    while name := next((name for head, name in KNOWN.items() if text.lstrip().startswith(head)), None):
        names.append(name)
        text, found = text.lstrip().partition("\n")[2], True
    if not found:
        return block
    return replace(block, text=text.lstrip(), source=None) if text.strip() else None


def _without_values(block: Block, taken: list[tuple[str, str]]) -> Block | None:
    """A block without what is moved, which goes to ``taken`` with its name; None if nothing is left of it."""
    found = list(_values(block.text))
    if not found:
        return block
    text, end = "", 0
    for start, stop, name in found:
        taken.append((block.text[start:stop].strip(), name))
        text, end = text + block.text[end:start], stop
    text += block.text[end:]
    return replace(block, text=text, source=None) if text.strip() else None


def _values(text: str) -> Iterator[tuple[int, int, str]]:
    """Where in a system text what is moved begins and ends, whole lines, and what it is."""
    tail = _TAIL.search(text)
    last = len(text) if tail is None else tail.start()
    behind = 0
    for value in find_volatile(text[:last]):
        start = text.rfind("\n", 0, value.start) + 1
        stop = text.find("\n", value.end, last)
        stop = last if stop < 0 else stop + 1
        if start >= behind and stop - start <= LONGEST_LINE:
            behind = stop
            yield start, stop, NAMES.get(value.kind, "an id")
    if tail is not None:
        yield last, len(text), TAILS[tail.group(1)]


NAMES = {"datetime": "a date and time", "date": "a date", "time": "a time", "epoch": "a time"}
"""What a value of a kind is called in explanations; of the other kinds an id."""


def _behind(mark: MarkAt, at: int) -> MarkAt:
    """A mark whose block stands one place further back if it is in message ``at``."""

    def moved(place: tuple[int | None, int]) -> tuple[int | None, int]:
        return (place[0], place[1] + (place[0] == at))

    message, block = moved((mark.message, mark.block))
    back = mark.looks_back_to
    return MarkAt(message, block, mark.ttl_seconds, None if back is None else moved(back))


def _moved(mark: MarkAt, places: _Places) -> MarkAt | None:
    if mark.message is None:
        return mark
    place = places.get((mark.message, mark.block), (mark.message, mark.block))
    back = mark.looks_back_to
    if back is not None:
        back = places.get(back, back)
    return None if place is None else MarkAt(place[0], place[1], mark.ttl_seconds, back)
