"""FW303."""

from foreword.audit.case import Case, Sighting, sight_piece
from foreword.audit.provider_terms import FIVE_MINUTES
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule

TEXTS_KEPT = 10_000


class MarksBelowMinimum(Rule):
    """The marked part is shorter than the least that the model caches.

    ## Why it costs

    The provider ignores such a mark without an error: nothing is written, nothing is read, and the request looks as if it
    were cached. Each model has its own minimum (`foreword prices` shows it).

    ## Example

        system: 600 tokens + mark, and the model caches from 1,024 tokens on

    ## Fix

    Move the mark further back, behind the first messages or examples, until the marked part is long enough; if the whole
    prompt is shorter than the minimum, remove the mark: it does nothing.
    """

    code = "FW303"
    name = "marks-below-minimum"
    explains_break = False
    needs_saving = False

    def __init__(self) -> None:
        self._texts: set[int] = set()

    def examine(self, case: Case) -> Sighting | None:
        marks = list(case.request.marks())
        if not case.request.marked_only or not marks:
            return None
        end = case.tokens.end_of(marks[-1])
        if end >= case.terms.minimum or end > case.outcome.seen:
            return None
        if len(self._texts) < TEXTS_KEPT:
            self._texts.add(hash(case.request.pieces[marks[-1]].text))
        return sight_piece(case, marks[-1])

    def fixer(self) -> Fixer:
        return self._marked_last

    def _marked_last(self, request: LoggedRequest) -> LoggedRequest:
        marks = list(request.marks())
        if not marks or marks[-1] == len(request.pieces) - 1 or hash(request.pieces[marks[-1]].text) not in self._texts:
            return request
        last = request.pieces[-1]._replace(mark=FIVE_MINUTES)
        return request.with_pieces((*request.pieces[:-1], last))
