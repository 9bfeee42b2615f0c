"""What a client predicts of an answer, as a drafter: followed from its beginning, and found again where it was left."""

import numpy as np

from foreword.account import PREDICTION
from foreword.sched.drafter import NOTHING, Proposal
from foreword.sched.request import Request
from foreword.sched.token_index import TokenIndex
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE


class Predicted:
    """Reads on in what a request has as ``predicted``; see Drafter."""

    name = PREDICTION

    def __init__(self) -> None:
        self._places: dict[Request, _Place] = {}

    def propose(self, request: Request, most: int) -> Proposal:
        """See Drafter. A request's first call takes about four milliseconds for 10,000 tokens of the prediction."""
        if not request.predicted:
            return NOTHING
        place = self._places.get(request)
        if place is None:
            place = self._places[request] = _Place(request)
        return place.propose(request, most)

    def ended(self, request: Request) -> None:
        """See Drafter."""
        self._places.pop(request, None)


class _Place:
    """Where an answer stands in its prediction: the answer is written behind it, in one text."""

    def __init__(self, request: Request):
        self._length = len(request.predicted) // TOKEN_BYTES
        self._text = np.empty(self._length + request.limit - request.num_prompt_tokens, np.int32)
        self._text[: self._length] = np.frombuffer(request.predicted, TOKEN_TYPE)
        self._index = TokenIndex(self._text, self._length, self._length)
        self._index.follow(0)
        self._taken = 0

    def propose(self, request: Request, most: int) -> Proposal:
        """What stands in the prediction behind the answer so far."""
        start, answered = request.num_prompt_tokens, request.num_tokens - request.num_prompt_tokens
        self._text[self._length + self._taken : self._length + answered] = request.tokens[
            start + self._taken : start + answered
        ]
        self._taken = answered
        self._index.take(self._length + answered)
        return self._index.propose(most)
