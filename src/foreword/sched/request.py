"""A request as the scheduler sees it: tokens, limits, and where it stands."""

from enum import StrEnum

import numpy as np

from foreword.account import Account
from foreword.cache import ConversationState, Mark, Namespace, PrivatePart, RequestLedger, Reservation, Stored
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE


class RequestState(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Request:
    """One continuation of a prompt: its tokens and what has been generated after them. Only the scheduler changes its state.

    prompt
        Packed tokens.
    tokens
        int32 buffer of ``limit`` entries; the first ``num_tokens`` are known.
    limit
        Prompt and generated tokens together never exceed it.
    predicted
        Packed tokens that whoever asks thinks will be generated.
    """

    def __init__(
        self,
        request_id: str,
        prompt: bytes,
        namespace: Namespace,
        limit: int,
        arrival: float,
        use_cache: bool = True,
        private: PrivatePart | None = None,
        marks: tuple[Mark, ...] = (),
        predicted: bytes = b"",
        conversation: ConversationState | None = None,
    ):
        self.request_id = request_id
        self.namespace = namespace
        self.num_prompt_tokens = self.num_tokens = len(prompt) // TOKEN_BYTES
        self.limit = limit
        self.tokens = np.empty(limit, np.int32)
        self.tokens[: self.num_tokens] = np.frombuffer(prompt, TOKEN_TYPE)
        self._packed = prompt  # of the tokens that were known when somebody asked last
        self.arrival = arrival
        self.use_cache = use_cache
        self.private = private
        self.marks = marks
        self.predicted = predicted
        self.conversation = conversation
        self.stored: tuple[Stored, ...] | None = ()  # what lower tiers have of it; None: that is still being looked up
        self.ledger = RequestLedger(self.num_prompt_tokens)
        self.state = RequestState.WAITING
        self.admitted: float | None = None  # when it was first admitted
        self.reservation: Reservation | None = None
        self.preemptions = 0

    @property
    def can_draft(self) -> bool:
        """Whether it generates: it runs, and only its last token, a sampled one, has no KV yet."""
        held = self.reservation
        return held is not None and held.length <= held.computed == self.num_tokens - 1

    def append(self, token: int) -> None:
        """Add a sampled token."""
        self.tokens[self.num_tokens] = token
        self.num_tokens += 1

    def packed(self) -> bytes:
        """The known tokens, packed; those that came since somebody asked last are added to what was packed then."""
        known = len(self._packed) // TOKEN_BYTES
        if known < self.num_tokens:
            self._packed += self.tokens[known : self.num_tokens].astype(TOKEN_TYPE, copy=False).tobytes()
        return self._packed

    def account(self) -> Account:
        """Where the prompt's tokens came from, so far."""
        return self.ledger.account()
