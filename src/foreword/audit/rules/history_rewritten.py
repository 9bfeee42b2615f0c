"""FW203."""

from foreword.audit.case import Case, Parting, Sighting, sight_break
from foreword.audit.conversations import Conversations
from foreword.audit.request import MESSAGE, MOVED, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import parts

TEXTS_KEPT = 100_000


class HistoryRewritten(Rule):
    """A turn sends the earlier messages of its conversation otherwise than the turn before did.

    ## Why it costs

    All that follows the first changed message is computed again. Sliding windows that drop the oldest message, tool results
    that are cleared or shortened later, reasoning that is stripped, and reminders that are put into a message and taken out
    again do it in every turn.

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
        self._texts: dict[int, str] = {}  # hashes of texts that took another's place, and where

    def examine(self, case: Case) -> Sighting | None:
        parted, before = case.parted, case.before
        if parted is None or before is None or parted.old is not before.value or parted.new_piece.section != MESSAGE:
            return None
        if parted.index >= case.request.messages_from() + before.at:
            return None
        if not before.sure and not (case.shared_behind(anywhere=True) or _same_message(parted)):
            return None
        if len(self._texts) < TEXTS_KEPT:
            self._texts[hash(parted.new_piece.text)] = parted.new_piece.place
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._texts = {text: at for text, at in self._texts.items() if at != place}

    def fixer(self) -> Fixer:
        if not self._texts:
            return lambda request: request
        turns: Conversations[tuple[LoggedPiece, ...]] = Conversations()

        def fix(request: LoggedRequest) -> LoggedRequest:
            link = turns.follow(request)
            fixed = request if link is None else self._append_only(request, link.value, link.at)
            history = tuple(piece for piece in fixed.pieces[fixed.messages_from() :] if piece.kind != MOVED)
            held, chars = held_once(history, () if link is None else link.value)
            turns.keep(request, held, chars)
            return fixed

        return fix

    def _append_only(self, request: LoggedRequest, before: tuple[LoggedPiece, ...], at: int) -> LoggedRequest:
        """The request with its history as the turn before had it; ``at`` of its own blocks stand for that."""
        first = request.messages_from()
        own, added = request.pieces[first : first + at], request.pieces[first + at :]
        if not any(hash(piece.text) in self._texts for piece in own):
            return request
        marks = {piece.text: piece.mark for piece in own if piece.mark is not None}
        shift = (before[-1].message + 1 - added[0].message) if added and before else 0
        return request.with_pieces(
            (
                *request.pieces[:first],
                *(piece._replace(mark=marks.get(piece.text)) for piece in before),
                *(piece._replace(message=piece.message + shift) for piece in added),
            )
        )


def held_once(history: tuple[LoggedPiece, ...], before: tuple[LoggedPiece, ...]) -> tuple[tuple[LoggedPiece, ...], int]:
    """A history with the turn before's own pieces where they are the same, and the characters that are new."""
    held = tuple(old if old == new else new for old, new in zip(before, history, strict=False)) + history[len(before) :]
    known = {id(piece) for piece in before}
    return held, sum(len(piece.text) for piece in held if id(piece) not in known)


def _same_message(parted: Parting) -> bool:
    """Whether two texts are one message in two states: the result of one tool call, or texts that are half alike."""
    if parted.index and parted.new_piece.kind == parted.old_piece.kind == "tool_result":
        return True
    one, two = parted.old_piece.text, parted.new_piece.text
    return sum(parts(one, two)) * 2 > min(len(one), len(two)) and parted.old_piece[:3] == parted.new_piece[:3]
