"""FW305."""

from dataclasses import replace

from foreword.audit.case import WORTH_TOKENS, Case, Sighting, sight_piece
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule


class ParallelFirstRequests(Rule):
    """Several requests with the same new prefix are sent at once, before the first of them has begun to answer.

    ## Why it costs

    An entry can be read only when the response that writes it has begun. Until then every request of the burst computes the
    prefix and pays for the write.

    ## Example

        gather(*[ask(document, question) for question in questions])      20 questions, one document, none cached

    ## Fix

    Send the first request alone, or warm the prefix (`max_tokens: 0`, `prewarm`), wait for its first token, then send the
    others at once.
    """

    code = "FW305"
    name = "parallel-first-requests"
    explains_break = False

    def __init__(self) -> None:
        self._seen = False

    def examine(self, case: Case) -> Sighting | None:
        if case.outcome.in_flight < WORTH_TOKENS or case.outcome.seen >= case.outcome.prompt - 1:
            return None  # the latter is the same request again, word for word: a retry
        self._seen = True
        index, _ = case.tokens.piece_at(case.outcome.cached + case.outcome.in_flight - 1)
        return sight_piece(case, index)

    def fixer(self) -> Fixer:
        return _one_first if self._seen else lambda request: request


def _one_first(request: LoggedRequest) -> LoggedRequest:
    """As if the others had waited: what a request writes can be read by all that come after it."""
    return replace(request, first_token=0.0)
