"""FW304."""

from dataclasses import replace

from foreword.audit.case import WORTH_TOKENS, Case, Sighting, sight_piece
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule

TEXTS_KEPT = 100_000


class LifetimeTooShort(Rule):
    """Prefixes come back after their entry has expired, and the provider offers a longer TTL.

    ## Why it costs

    The entry is written again and again, each time at the price of a write, because the pauses between requests are longer
    than it lives. A longer TTL costs more to write, once.

    ## Example

        a question every 12 minutes, behind a document marked with the default TTL of 5 minutes

    ## Fix

    Ask for the longer TTL on the part that lasts (`"ttl": "1h"`, and stand it before the marks with a shorter one;
    `"prompt_cache_options": {"ttl": "12h"}`; `"prompt_cache_retention": "24h"`), or keep the entry warm.
    """

    code = "FW304"
    name = "lifetime-too-short"
    explains_break = False

    def __init__(self) -> None:
        self._longer: dict[str, float] = {}  # model → seconds
        self._texts: set[int] = set()  # hashes of blocks whose entries expired

    def examine(self, case: Case) -> Sighting | None:
        request, outcome, longer = case.request, case.outcome, case.terms.longer_lifetime
        if outcome.expired < WORTH_TOKENS or longer is None:
            return None
        index, _ = case.tokens.piece_at(outcome.cached + outcome.expired - 1)
        asked = request.pieces[index].mark if request.marked_only else request.lifetime
        if (asked or case.terms.lifetime or 0) >= longer:
            return None
        self._longer[request.model] = longer
        if len(self._texts) < TEXTS_KEPT:
            self._texts.add(hash(request.pieces[index].text))
        return sight_piece(case, index)

    def fixer(self) -> Fixer:
        return self._with_longer

    def _with_longer(self, request: LoggedRequest) -> LoggedRequest:
        longer = self._longer.get(request.model)
        if longer is None:
            return request
        if not request.marked_only:
            return replace(request, lifetime=longer)
        last = max((i for i in request.marks() if hash(request.pieces[i].text) in self._texts), default=-1)
        return request.with_pieces(
            tuple(
                piece._replace(mark=longer) if piece.mark is not None and i <= last else piece
                for i, piece in enumerate(request.pieces)
            )
        )
