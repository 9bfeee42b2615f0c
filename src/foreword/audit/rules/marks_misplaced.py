"""FW302."""

from collections import Counter

from foreword.audit.case import WORTH_TOKENS, Case, Sighting, sight_piece
from foreword.audit.provider_terms import FIVE_MINUTES
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.vendor_forms.anthropic import MAX_MARKS

SMALL_PART = 0.125
"""Of what could be read: a mark that misses less than this stands well enough; there are only four."""
Boundary = tuple[str, int, int]


class MarksMisplaced(Rule):
    """Marks stand behind text that changes, or too far behind, and none at the end of the part that stays the same.

    ## Why it costs

    A mark writes the prompt up to itself. If anything before it changes, the entry is never read: the write is paid (1.25
    times the plain price) and nothing comes back. An entry is looked for in the last 20 blocks before a mark only.

    ## Example

        system: [rules (4,000 tokens), today's state (changes) + mark]

    ## Fix

    Put a mark at the end of each part that changes less often than what follows: the tools, the fixed system text, the
    conversation so far. Long turns of more than 20 blocks need a mark on the way.
    """

    code = "FW302"
    name = "marks-misplaced"
    explains_break = False
    measured_on = "cached"

    def __init__(self) -> None:
        self._missed: Counter[Boundary] = Counter()

    def examine(self, case: Case) -> Sighting | None:
        outcome = case.outcome
        if not case.request.marked_only or outcome.expired or outcome.in_flight:
            return None
        if not any(case.tokens.end_of(i) >= case.terms.minimum for i in case.request.marks()):
            return None
        index = next((i for i in reversed(case.tokens.order) if case.tokens.end_of(i) <= outcome.readable), None)
        if index is None:
            return None
        end = case.tokens.end_of(index)
        if end < case.terms.minimum or end - outcome.cached < max(WORTH_TOKENS, end * SMALL_PART):
            return None
        piece = case.request.pieces[index]
        self._missed[piece.section, piece.message, piece.block] += end - outcome.cached
        return sight_piece(case, index)

    def fixer(self) -> Fixer:
        wanted = [boundary for boundary, _ in self._missed.most_common(MAX_MARKS - 2)]
        return lambda request: _marked_at(request, wanted)


def _marked_at(request: LoggedRequest, wanted: list[Boundary]) -> LoggedRequest:
    marks = list(request.marks())
    if not marks:
        return request
    places = {(piece.section, piece.message, piece.block): i for i, piece in enumerate(request.pieces)}
    added = [places[boundary] for boundary in wanted if boundary in places]
    kept = sorted({*added, *marks[-(MAX_MARKS - len(set(added))) :]})
    if kept == marks:
        return request
    return request.with_pieces(
        tuple(
            piece._replace(mark=(piece.mark or FIVE_MINUTES) if i in kept else None)
            for i, piece in enumerate(request.pieces)
        )
    )
