"""FW301."""

from foreword.audit.case import Case, Sighting, sight_piece
from foreword.audit.provider_terms import FIVE_MINUTES
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule


class MarksMissing(Rule):
    """Prompts with a shared beginning are sent without a cache mark to a provider that caches nothing else.

    ## Why it costs

    Every request pays the full price for text that could be read from the cache at a tenth of it.

    ## Example

        {"system": "... 5,000 tokens, the same each time ...", "messages": [...]}    no cache_control anywhere

    ## Fix

    Mark the end of the part that stays the same (`"cache_control": {"type": "ephemeral"}` on the last tool or system block),
    and in conversations the last block of the last message too.
    """

    code = "FW301"
    name = "marks-missing"
    explains_break = False

    def __init__(self) -> None:
        self._seen = False

    def examine(self, case: Case) -> Sighting | None:
        if not case.request.marked_only or any(True for _ in case.request.marks()):
            return None
        if case.outcome.seen < case.terms.minimum:
            return None
        self._seen = True
        ends = (i for i in reversed(case.tokens.order) if case.tokens.end_of(i) <= case.outcome.seen)
        return sight_piece(case, next(ends, 0))

    def fixer(self) -> Fixer:
        return _marked if self._seen else lambda request: request


def _marked(request: LoggedRequest) -> LoggedRequest:
    if not request.marked_only or any(True for _ in request.marks()):
        return request
    pieces = list(request.pieces)
    for i in {request.messages_from() - 1, len(pieces) - 1} - {-1}:
        pieces[i] = pieces[i]._replace(mark=FIVE_MINUTES)
    return request.with_pieces(tuple(pieces))
