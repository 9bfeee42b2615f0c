"""What clients write at the head of every request anew, and what carries no meaning for the model: known by name, left out.

A line that is another one in each session stands before all that sessions have in common, so that nothing of it is found in
the cache.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from foreword.prompt.chat import SYSTEM_ROLES, Block, ChatPrompt, MarkAt, Message


class ClientHeads(StrEnum):
    """``leave-out``: lines that are known to say nothing to a model are left out. ``keep``: the prompt is as it was sent."""

    LEAVE_OUT = "leave-out"
    KEEP = "keep"


KNOWN: Mapping[str, str] = {"x-anthropic-billing-header:": "a billing header"}
"""How lines begin that say nothing to a model, and what they are. Claude Code's: another suffix with each first prompt."""


def without_client_heads(prompt: ChatPrompt) -> ChatPrompt:
    """The conversation without lines of KNOWN at the head of its system texts; ``left_out`` names them. Marks keep their
    places; one that stood on nothing else is dropped."""
    messages: list[Message] = []
    places: dict[tuple[int | None, int], tuple[int, int] | None] = {}
    names: list[str] = []
    lead = True
    for index, message in enumerate(prompt.messages):
        lead = lead and message.role in SYSTEM_ROLES
        kept = [_without_head(block, names) if lead else block for block in message.blocks]
        blocks = tuple(block for block in kept if block is not None)
        gone = message.blocks and not blocks and not message.tool_calls
        at = -1
        for block in range(len(kept) + len(message.tool_calls)):
            at += block >= len(kept) or kept[block] is not None
            places[index, block] = None if gone or at < 0 else (len(messages), at)
        if not gone:
            messages.append(replace(message, blocks=blocks) if blocks != message.blocks else message)
    if not names:
        return prompt
    return replace(
        prompt,
        messages=tuple(messages),
        marks=tuple(moved for mark in prompt.marks if (moved := _moved(mark, places)) is not None),
        left_out=(*prompt.left_out, *names),
    )


def _without_head(block: Block, names: list[str]) -> Block | None:
    """A block without its first lines that are known; None if nothing is left of it. What was left out goes to ``names``."""
    text, found = block.text, False
    while name := next((name for head, name in KNOWN.items() if text.lstrip().startswith(head)), None):
        names.append(name)
        text, found = text.lstrip().partition("\n")[2], True
    if not found:
        return block
    return replace(block, text=text.lstrip(), source=None) if text.strip() else None


def _moved(mark: MarkAt, places: Mapping[tuple[int | None, int], tuple[int, int] | None]) -> MarkAt | None:
    if mark.message is None:
        return mark
    place = places.get((mark.message, mark.block), (mark.message, mark.block))
    back = mark.looks_back_to
    if back is not None:
        back = places.get(back, back)
    return None if place is None else MarkAt(place[0], place[1], mark.ttl_seconds, back)
