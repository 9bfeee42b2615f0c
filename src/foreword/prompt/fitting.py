"""A conversation fitted to what a chat template can write, so that nothing of it is refused or left out.

developer       written as the system where the template does not know the role
late system     a system text among the turns: marked as such, before the next turn of the user; where none follows, a
                turn of the user of its own
system          where there is no such role: before the first turn of the user
turns in a row  turns of one role are joined where the template refuses them or leaves one out
calls           several at once become one message each, with what each gave; a text beside them a message before them
tools           where the template knows none, in the form of ``default_tools``

What a template takes stays as it is. Fitting is prefix-stable: how a turn is written depends on the turns before it and the
one it is joined to, so turns that are added change none before them. (But calls that have no result yet, where a template
takes one at a time: what they gave goes between them.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from foreword.prompt.abilities import TemplateAbilities
from foreword.prompt.chat import SYSTEM_ROLES, Block, Message, Tool, ToolCall
from foreword.prompt.default_tools import RESULT_CLOSE, RESULT_OPEN, told_call, told_tools

PartPlace = tuple[int | None, int]
"""Of a part of a conversation: its message, and the block in it, calls counting behind the others; None: a tool."""

SYSTEM_OPEN, SYSTEM_CLOSE = "<system>\n", "\n</system>"
"""Around a system text in a turn of the user."""
GO_ON = "Continue."
"""A turn of the user where a template wants one between two of the assistant."""


@dataclass(frozen=True, slots=True)
class FittedConversation:
    """A conversation as a template takes it.

    messages, tools
        For the template; no tools where they are told in a message.
    places
        For each message, of each of its pieces (see ``segments``) the part of the original conversation that it is.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    places: tuple[tuple[PartPlace, ...], ...]


def fit(messages: Sequence[Message], tools: Sequence[Tool], abilities: TemplateAbilities) -> FittedConversation:
    """Fit a conversation. Pure; time linear in the number of its parts."""
    drafts = [_draft(index, message) for index, message in enumerate(messages)]
    _name_results(drafts)
    count = next((at for at, draft in enumerate(drafts) if draft.role not in SYSTEM_ROLES), len(drafts))
    told = tools if not abilities.tools else ()
    lead, turns = drafts[:count], drafts[count:]
    fitted: list[_Draft] = []
    stays = bool(turns) or (abilities.system_alone if told or not tools else abilities.system_alone_with_tools)
    for draft in [*_fit_lead(lead, told, stays, abilities), *_fit_turns(turns, abilities)]:
        _append(fitted, draft, abilities)
    return FittedConversation(
        messages=tuple(draft.message() for draft in fitted),
        tools=() if told else tuple(tools),
        places=tuple(tuple(draft.places()) for draft in fitted),
    )


@dataclass
class _Draft:
    """A message in the making: its blocks and calls with their places.

    goes_on
        A turn of the user into which the next one goes.
    result
        A turn of the user that tells what a call gave.
    first
        The place of its beginning.
    """

    role: str
    blocks: list[tuple[Block, PartPlace]]
    calls: list[tuple[ToolCall, PartPlace]] = field(default_factory=list)
    call_id: str | None = None
    name: str | None = None
    goes_on: bool = False
    result: bool = False
    first: PartPlace = (0, 0)

    def message(self) -> Message:
        blocks, calls = (block for block, _ in self.blocks), (call for call, _ in self.calls)
        return Message(self.role, tuple(blocks), tuple(calls), self.call_id, self.name)

    def places(self) -> Iterable[PartPlace]:
        """The places of the pieces that the message has: its thoughts are one, and so is no text at all."""
        thoughts = [place for block, place in self.blocks if block.kind == "thinking"]
        texts = [(block, place) for block, place in self.blocks if block.kind != "thinking"]
        if thoughts:
            yield thoughts[-1]
        if len(texts) > 1 or (texts and (texts[0][0].text or not self.calls)):
            yield from (place for _, place in texts)
        elif not self.calls:
            yield thoughts[-1] if thoughts else self.first
        yield from (place for _, place in self.calls)

    def join(self, other: "_Draft") -> None:
        self.blocks += other.blocks
        self.calls += other.calls
        self.goes_on, self.result = other.goes_on, other.result

    def marked(self, opening: str, closing: str) -> "_Draft":
        """The draft with a mark around its texts."""
        blocks = self.blocks or [(Block("text", ""), self.first)]
        (first, at), rest = blocks[0], blocks[1:]
        blocks = [(replace(first, text=opening + first.text), at), *rest]
        last, at = blocks[-1]
        return replace(self, blocks=[*blocks[:-1], (replace(last, text=last.text + closing), at)])


def _draft(index: int, message: Message) -> _Draft:
    blocks: list[tuple[Block, PartPlace]] = [(block, (index, at)) for at, block in enumerate(message.blocks)]
    count = len(blocks)
    calls: list[tuple[ToolCall, PartPlace]] = [(call, (index, count + at)) for at, call in enumerate(message.tool_calls)]
    return _Draft(message.role, blocks, calls, message.tool_call_id, message.name, first=(index, 0))


def _name_results(drafts: Iterable[_Draft]) -> None:
    """Say of each result whose it is, whatever endpoint it came through."""
    names: dict[str, str] = {}
    for draft in drafts:
        names |= {call.call_id: call.name for call, _ in draft.calls}
        if draft.role == "tool" and draft.name is None and draft.call_id is not None:
            draft.name = names.get(draft.call_id)


def _fit_lead(lead: list[_Draft], told: Sequence[Tool], stays: bool, abilities: TemplateAbilities) -> Iterable[_Draft]:
    """The system messages at the head, and in the first of them the tools that are to be told.

    ``stays``: the template takes a system message here if it takes one at all.
    """
    if not abilities.developer:
        lead = [replace(draft, role="system") for draft in lead]
    if told:
        tools = _Draft("system", [(Block("text", text), (None, at)) for text, at in told_tools(told)], first=(None, 0))
        lead = [replace(lead[0], blocks=_spaced(tools).blocks + lead[0].blocks), *lead[1:]] if lead else [tools]
    if not lead:
        return []
    as_user = not (abilities.system and stays)
    if not as_user and abilities.second_system:
        return lead
    for draft in lead[1:]:
        lead[0].join(draft)
    if as_user:
        return [replace(_spaced(lead[0]), role="user", goes_on=True)]
    return lead[:1]


def _spaced(draft: _Draft) -> _Draft:
    """The draft with an empty line behind its texts."""
    return draft.marked("", "\n")


def _fit_turns(turns: Sequence[_Draft], abilities: TemplateAbilities) -> Iterable[_Draft]:
    at = 0
    while at < len(turns):
        draft = turns[at]
        at += 1
        if draft.role in SYSTEM_ROLES:
            yield _fit_late_system(draft, abilities)
        elif draft.role == "tool" and not abilities.calls:
            yield replace(draft.marked(RESULT_OPEN, RESULT_CLOSE), role="user", result=True, call_id=None, name=None)
        elif draft.calls and not abilities.calls:
            told: list[tuple[Block, PartPlace]] = [(Block("text", told_call(call)), place) for call, place in draft.calls]
            yield replace(draft, blocks=draft.blocks + told, calls=[])
        elif len(draft.calls) > 1 and not abilities.calls_at_once:
            end = next((end for end in range(at, len(turns)) if turns[end].role != "tool"), len(turns))
            yield from _apart(draft, turns[at:end], abilities)
            at = end
        elif draft.calls:
            yield from _text_apart(draft, abilities)
        else:
            yield draft


def _fit_late_system(draft: _Draft, abilities: TemplateAbilities) -> _Draft:
    if draft.role == "developer" and abilities.late_developer:
        return draft
    if abilities.late_system:
        return replace(draft, role="system")
    return replace(draft.marked(SYSTEM_OPEN, SYSTEM_CLOSE), role="user", goes_on=True)


def _apart(draft: _Draft, results: Sequence[_Draft], abilities: TemplateAbilities) -> Iterable[_Draft]:
    """Calls one by one, each with what it gave; what belongs to none of them comes behind."""
    by_id: dict[str | None, list[_Draft]] = {}
    for result in results:
        by_id.setdefault(result.call_id, []).append(result)
    for number, call in enumerate(draft.calls):
        yield from _text_apart(replace(draft, blocks=[] if number else draft.blocks, calls=[call]), abilities)
        yield from by_id.pop(call[0].call_id, ())
    yield from (result for others in by_id.values() for result in others)


def _text_apart(draft: _Draft, abilities: TemplateAbilities) -> Iterable[_Draft]:
    """A message with calls, and before it its text where the template would leave that out."""
    said = any(block.kind != "thinking" and block.text.strip() for block, _ in draft.blocks)
    if abilities.text_with_calls or not said:
        yield draft
    else:
        yield replace(draft, calls=[])
        yield replace(draft, blocks=[], first=draft.calls[0][1])


def _append(fitted: list[_Draft], draft: _Draft, abilities: TemplateAbilities) -> None:
    """Put a draft behind the others, or into the last one."""
    last = fitted[-1] if fitted else None
    if draft.role == "assistant" and not abilities.assistant_first and (last is None or last.role in SYSTEM_ROLES):
        fitted.append(_Draft("user", [(Block("text", ""), draft.first)], first=draft.first))
    elif last is not None and _goes_into(last, draft, abilities):
        last.join(draft)
        return
    elif last is not None and draft.calls and last.role == "assistant" and not abilities.assistants_in_row:
        fitted.append(_Draft("user", [(Block("text", GO_ON), draft.first)], first=draft.first))
    fitted.append(draft)


def _goes_into(last: _Draft, draft: _Draft, abilities: TemplateAbilities) -> bool:
    pair = (last.role, draft.role)
    if pair == ("user", "user"):
        return last.goes_on or (last.result and draft.result) or not abilities.users_in_row
    if pair == ("assistant", "assistant"):
        return not (abilities.assistants_in_row or last.calls) and (abilities.text_with_calls or not draft.calls)
    return pair == ("tool", "user") and not abilities.user_after_result
