"""The prefix tree as a drafter: what followed the same prompt, and the same beginning of an answer, the last time."""

from foreword.cache.continuations import Continuations
from foreword.sched.drafter import NOTHING, Proposal
from foreword.sched.request import Request
from foreword.tokens import TOKEN_TYPE, unpack_tokens

WHOLE_PATH = 1 << 16
"""All tokens before them speak for what is proposed."""


class TreeDrafter:
    """Reads on behind a request's own path; see Drafter."""

    name = "tree"

    def __init__(self, continuations: Continuations):
        self._continuations = continuations

    def propose(self, request: Request, most: int) -> Proposal:
        """See Drafter."""
        reservation = request.reservation
        if reservation is None:
            return NOTHING
        generated = request.tokens[reservation.length : request.num_tokens].astype(TOKEN_TYPE, copy=False).tobytes()
        return Proposal(unpack_tokens(self._continuations.after(reservation, generated, most)), WHOLE_PATH)

    def ended(self, request: Request) -> None:
        """See Drafter; nothing is kept."""
