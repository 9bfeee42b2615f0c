"""FW203."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from foreword.audit.case import WORTH_CHARS, Case, Parting, Sighting, sight_break
from foreword.audit.conversations import Conversations, Link
from foreword.audit.request import MESSAGE, MOVED, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import parts

TEXTS_KEPT = 100_000
CONVERSATIONS_KEPT = 10_000
COMPACTED = 0.25
"""Of a conversation's text: so much gone at once, and not again soon, is a compaction at a chosen moment."""
SOON = 8
"""Messages (four turns of an agent with tools) within which a second rewriting is one of many, not a compaction."""
SUMMARIES = {
    "moved": "A text at the end of the last message (a reminder, a state) is gone from there in the next turn.",
    "cleared": "Tool results of earlier turns are cleared or shortened, a few in every turn.",
    "thinking": "The thinking of earlier turns is taken out of the history.",
}
ADVICE = {
    "moved": (
        "Leave the text where it was sent and send the next one as a new block, or keep it out of what is cached: put the "
        "mark on the block before it."
    ),
    "cleared": (
        "Clear many results at once and seldom (`clear_at_least` of context editing, or a compaction), instead of a few in "
        "every turn; or shorten a result before it is sent for the first time."
    ),
    "thinking": "Send the thinking blocks back as they came, in every later turn.",
}


class HistoryRewritten(Rule):
    """A turn sends the earlier messages of its conversation otherwise than the turn before did.

    ## Why it costs

    All that follows the first changed message is computed again. Sliding windows that drop the oldest message, tool results
    that are cleared or shortened later, reasoning that is stripped, and reminders that are put into a message and taken out
    again do it in every turn. A conversation that is compacted at one moment, by a quarter or more, is no fault: it costs
    once, and the turns behind it are shorter.

    ## Example

        turn 3: user, assistant, tool result (2,000 tokens), assistant, user
        turn 4: user, assistant, "[result removed]", assistant, user, assistant, user

    ## Fix

    Keep the history append-only: send earlier messages back as they were. When it grows too long, compact it once, at a
    chosen moment, instead of a little in every turn.
    """

    code = "FW203"
    name = "history-rewritten"

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}  # hashes of texts that took another's place, or that went, and where
        self._compacted: OrderedDict[int, _Rewriting] = OrderedDict()  # by conversation

    def examine(self, case: Case) -> Sighting | None:
        parted, before = case.parted, case.before
        if parted is None or before is None or parted.old is not before.value:
            return None
        place = parted.new_piece.place
        if _dropped_tail(parted.old.pieces, case.request.pieces) == parted.index:
            self._learn(parted.old_piece.text, place)
            return _sight(case, parted, "moved")
        if parted.new_piece.section != MESSAGE or parted.index >= case.request.messages_from() + before.at:
            return None
        if not before.sure and not (case.shared_behind(anywhere=True) or _same_message(parted)):
            return None
        seen = _sight(case, parted, _what(parted))
        first, compaction = self._first_of(case, parted, before, seen)
        if compaction:
            return replace(seen, fault=False)
        self._learn(parted.new_piece.text, place)
        return first

    def _learn(self, text: str, place: str) -> None:
        if len(self._texts) < TEXTS_KEPT:
            self._texts[hash(text)] = place

    def _first_of(self, case: Case, parted: Parting, before: Link[LoggedRequest], seen: Sighting) -> tuple[Sighting, bool]:
        """What to tell, and whether it is a compaction: the history lost much at once, for the first time in a while.

        One that turns out to be the first of many is told in place of the second, and what it put in is learned.
        """
        start = case.request.messages_from()
        own = case.request.pieces[start : start + _standing(parted.old.pieces[start:], case.request.pieces[start:], before)]
        earlier = parted.old.pieces[parted.old.messages_from() :]
        count = own[-1].message if own else 0
        last = self._compacted.pop(_conversation(parted.old), None)
        again = last is not None and (
            0 < count - last.messages <= SOON
            or (count <= last.messages and any(piece.text == last.text for piece in earlier))  # a window does not grow
        )
        shorter = 1 - sum(len(piece.text) for piece in own) / max(1, sum(len(piece.text) for piece in earlier))
        compaction = shorter >= COMPACTED and not again
        self._compacted[_conversation(case.request)] = _Rewriting(count, parted.new_piece.text, seen if compaction else None)
        if len(self._compacted) > CONVERSATIONS_KEPT:
            self._compacted.popitem(last=False)
        if again and last is not None and last.withheld is not None:
            self._learn(last.text, last.withheld.place)
            return last.withheld, False
        return seen, compaction

    def forget(self, place: str) -> None:
        self._texts = {text: at for text, at in self._texts.items() if at != place}

    def fixer(self) -> Fixer:
        if not self._texts:
            return lambda request: request
        turns: Conversations[_Turn] = Conversations()

        def fix(request: LoggedRequest) -> LoggedRequest:
            link = turns.follow(request)
            fixed = request if link is None else self._append_only(request, link)
            own = request.pieces[request.messages_from() :]
            history = tuple(piece for piece in fixed.pieces[fixed.messages_from() :] if piece.kind != MOVED)
            held, chars = held_once(history, () if link is None else link.value.held)
            if fixed is request:
                own = held
            else:
                own, more = held_once(own, () if link is None else link.value.own)
                chars += more
            turns.keep(request, _Turn(own, held), chars)
            return fixed

        return fix

    def _append_only(self, request: LoggedRequest, link: "Link[_Turn]") -> LoggedRequest:
        """The request with its history as the turn before had it; a part of its own blocks stands for that."""
        turn, first = link.value, request.messages_from()
        own = request.pieces[first:]
        gone = _dropped_tail(turn.own, own)
        at = _standing(turn.own, own, link) if gone is None else gone
        mended = turn.own != turn.held or any(hash(piece.text) in self._texts for piece in own[:at])
        if not mended and (gone is None or hash(turn.own[gone].text) not in self._texts):
            return request
        added = own[at:]
        marks = {piece.text: piece.mark for piece in own[:at] if piece.mark is not None}
        shift = (turn.held[-1].message + 1 - added[0].message) if added and turn.held else 0
        return request.with_pieces(
            (
                *request.pieces[:first],
                *(piece._replace(mark=marks.get(piece.text)) for piece in turn.held),
                *(piece._replace(message=piece.message + shift) for piece in added),
            )
        )


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn's history as it was sent, and as the fix leaves it."""

    own: tuple[LoggedPiece, ...]
    held: tuple[LoggedPiece, ...]


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """A conversation's last rewriting: the number of its last message then, what was put in, what was not told."""

    messages: int
    text: str
    withheld: Sighting | None


def held_once(history: tuple[LoggedPiece, ...], before: tuple[LoggedPiece, ...]) -> tuple[tuple[LoggedPiece, ...], int]:
    """A history with the turn before's own pieces where they are the same, and the characters that are new."""
    held = tuple(old if old == new else new for old, new in zip(before, history, strict=False)) + history[len(before) :]
    known = {id(piece) for piece in before}
    return held, sum(len(piece.text) for piece in held if id(piece) not in known)


def _sight(case: Case, parted: Parting, what: str) -> Sighting:
    return replace(sight_break(case, parted), summary=SUMMARIES.get(what, ""), advice=ADVICE.get(what, ""))


def _what(parted: Parting) -> str:
    """How the history was rewritten, for the words; empty for any other way."""
    old, new = parted.old_piece, parted.new_piece
    if old.kind == "thinking":
        return "thinking"
    return "cleared" if old.kind == new.kind == "tool_result" and len(new.text) < len(old.text) else ""


def _dropped_tail(old: tuple[LoggedPiece, ...], new: tuple[LoggedPiece, ...]) -> int | None:
    """Where a history lost a text at its end, in whose place the next message stands; None where nothing was lost so."""
    index = next((i for i, (one, two) in enumerate(zip(old, new, strict=False)) if one.text != two.text), len(new))
    if not 0 < index < min(len(old), len(new)) or new[index].role != "assistant" or old[index].role == "assistant":
        return None
    tail = old[index:]
    if {piece.message for piece in tail} != {old[-1].message} or any(piece.kind != "text" for piece in tail):
        return None
    return index if old[index - 1].section == MESSAGE and sum(len(piece.text) for piece in tail) >= WORTH_CHARS else None


def _standing(before: tuple[LoggedPiece, ...], own: tuple[LoggedPiece, ...], link: Link[Any]) -> int:
    """How many of a history's blocks stand for the turn before: as many as that had, or up to the last that it had too."""
    alike = all(one[:4] == two[:4] for one, two in zip(before, own, strict=False))
    if link.sure or (alike and len(own) > link.at):
        return link.at
    known = {piece.text for piece in before}
    return next((i + 1 for i in range(len(own) - 1, -1, -1) if own[i].text in known), 0)


def _conversation(request: LoggedRequest) -> int:
    """A conversation by how it begins."""
    first = request.messages_from()
    return hash((request.scope, request.user, *(piece.text for piece in request.pieces[first : first + 2])))


def _same_message(parted: Parting) -> bool:
    """Whether two texts are one message in two states: the result of one tool call, or texts that are half alike."""
    if parted.index and parted.new_piece.kind == parted.old_piece.kind == "tool_result":
        return True
    one, two = parted.old_piece.text, parted.new_piece.text
    return sum(parts(one, two)) * 2 > min(len(one), len(two)) and parted.old_piece[:3] == parted.new_piece[:3]
