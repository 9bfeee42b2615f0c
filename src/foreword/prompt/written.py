"""A conversation written by a chat template: fitted to what the template takes, and checked to be whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from foreword.prompt.chat import ChatPrompt, Message, MessageDict, Tool, tool_name
from foreword.prompt.fitting import FittedConversation, fit
from foreword.prompt.presence import check_presence, check_readable
from foreword.prompt.segments import Piece, SegmentedPrompt, segment
from foreword.prompt.template import PromptTemplate, check_variables
from foreword.prompt.vendor_forms.openai import write_message


def write_conversation(template: PromptTemplate, prompt: ChatPrompt, now: datetime) -> str:
    """The text of a conversation.

    PromptError where the template does not take it or leaves something of it out, or where it holds what is no text.
    """
    given = _given(template, prompt, now)
    text = template.render(given.messages, given.tools, prompt.add_generation_prompt, **given.variables)
    check_presence(text, prompt.messages, given.fitted)
    return text


def segment_conversation(template: PromptTemplate, prompt: ChatPrompt, now: datetime) -> SegmentedPrompt:
    """The same with its token ids, and the pieces under the names and numbers of the conversation as it was sent."""
    given = _given(template, prompt, now)
    found = segment(template, given.messages, given.tools, prompt.add_generation_prompt, **given.variables)
    check_presence(found.text, prompt.messages, given.fitted)
    return replace(found, pieces=_as_sent(found.pieces, given.fitted, prompt))


@dataclass(frozen=True, slots=True)
class _Given:
    """What a template is given."""

    fitted: FittedConversation
    messages: list[MessageDict]
    tools: Sequence[Tool] | None
    variables: dict[str, Any]


def _given(template: PromptTemplate, prompt: ChatPrompt, now: datetime) -> _Given:
    check_variables(prompt.template_options)
    check_readable(prompt.messages)
    fitted = fit(prompt.messages, prompt.tools, template.abilities(prompt.tools or None))
    messages: list[MessageDict] = [write_message(message) for message in fitted.messages]
    return _Given(
        fitted, messages, list(fitted.tools) or None, {"now": now, "go_on": prompt.go_on, **prompt.template_options}
    )


def _as_sent(pieces: Sequence[Piece], fitted: FittedConversation, prompt: ChatPrompt) -> tuple[Piece, ...]:
    """Pieces of a fitted conversation as pieces of the one that was sent; neighbours that are parts of one become one."""
    named: list[Piece] = []
    for piece in pieces:
        if piece.kind == "message":
            piece = _named(piece, *fitted.places[piece.index][piece.block], prompt)
        last = named[-1] if named else None
        if last is not None and (last.kind, last.index, last.block) == (piece.kind, piece.index, piece.block):
            named[-1] = replace(last, end=piece.end)
        else:
            named.append(piece)
    return tuple(named)


def _named(piece: Piece, message: int | None, block: int, prompt: ChatPrompt) -> Piece:
    if message is None:
        return replace(piece, kind="tool", index=block, block=0, blocks=1, name=tool_name(prompt.tools[block]))
    return replace(
        piece, index=message, block=block, blocks=_blocks(prompt.messages[message]), name=prompt.messages[message].role
    )


def _blocks(message: Message) -> int:
    return max(1, len(message.blocks) + len(message.tool_calls))
