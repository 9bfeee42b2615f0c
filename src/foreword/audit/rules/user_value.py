"""FW102."""

from collections import OrderedDict

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.changing_values import ChangingValues
from foreword.audit.request import MESSAGE, SETTINGS, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule

USERS_KEPT = 10_000
ENOUGH = 3
"""Times that one user must be seen with two values before the value is not taken for the user's any more."""


class UserValue(Rule):
    """A value of the user (a name, an account, preferences) stands in front of text that all users share.

    ## Why it costs

    Every user then has a prefix of his own: what could be one cached prompt for all is written once for each, and computed
    anew when a user comes for the first time or after a pause.

    ## Example

        You are the assistant of Maria Lopez, customer 30412.
        ... 3,000 tokens of instructions, the same for everybody ...

    ## Fix

    Put what all users share first, and what belongs to one user behind it: in a later system block, or in the first message.
    """

    code = "FW102"
    name = "user-value"

    def __init__(self) -> None:
        self._changing = ChangingValues()
        self._values: OrderedDict[tuple[str, str], int] = OrderedDict()  # (place, user) → the value's hash
        self._changed: dict[str, int] = {}
        self._kept: dict[str, int] = {}

    def examine(self, case: Case) -> Sighting | None:
        parted, user = case.parted, case.request.user
        if user is None:
            return None
        self._watch(case.request, user)
        if (
            parted is None
            or parted.new_piece.section in (MESSAGE, SETTINGS)
            or not parted.old.user
            or parted.old.user == user
        ):
            return None
        if parted.new_piece.place in self.withdrawn() or not self._changing.learn(parted, case.shared_behind()):
            return None
        return sight_break(case, parted)

    def _watch(self, request: LoggedRequest, user: str) -> None:
        """Count how often a user comes back with the same value, and with another: then it is not the user's."""
        for piece in request.pieces[: request.messages_from()]:
            span = self._changing.value(piece)
            if span is None:
                continue
            value, key = hash(piece.text[slice(*span)]), (piece.place, user)
            known = self._values.pop(key, None)
            if known is not None:
                counts = self._kept if known == value else self._changed
                counts[piece.place] = counts.get(piece.place, 0) + 1
            self._values[key] = value
            if len(self._values) > USERS_KEPT:
                self._values.popitem(last=False)
            if piece.place in self.withdrawn():
                self._changing.forget(piece.place)

    def withdrawn(self) -> frozenset[str]:
        return frozenset(
            place for place, times in self._changed.items() if times >= ENOUGH and times > self._kept.get(place, 0)
        )

    def forget(self, place: str) -> None:
        self._changing.forget(place)

    def fixer(self) -> Fixer:
        return self._changing.moved_out
