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
        self._nothing: dict[Request, int] = {}  # in which version of the tree nothing followed

    def propose(self, request: Request, most: int) -> Proposal:
        """See Drafter."""
        reservation, version = request.reservation, self._continuations.version
        if reservation is None or self._nothing.get(request) == version:
            return NOTHING
        generated = request.tokens[reservation.length : request.num_tokens].astype(TOKEN_TYPE, copy=False).tobytes()
        found = self._continuations.after(reservation, generated, most)
        if not found:
            self._nothing[request] = version
            return NOTHING
        return Proposal(unpack_tokens(found), WHOLE_PATH)

    def ended(self, request: Request) -> None:
        """See Drafter."""
        self._nothing.pop(request, None)
