"""A request as the scheduler sees it: tokens, limits, and where it stands."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from foreword.account import Account
from foreword.cache import Mark, Namespace, RequestLedger, Reservation
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE


class RequestState(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class PrivateTail:
    """Where a prompt stops being shared with everyone in its namespace.

    In the cache's eyes the token at position ``start`` is another one for every owner: its id is moved by ``shift``, a
    positive multiple of the vocabulary's size that no other owner has. What comes after it hangs below it in the tree, so
    nobody else can reach it, while the tokens before are everyone's. The model sees the token as it is.
    """

    start: int
    shift: int


class Request:
    """One sequence: a prompt and what has been generated after it. Only the scheduler changes its state.

    prompt
        Packed tokens.
    tokens
        int32 buffer of ``limit`` entries; the first ``num_tokens`` are known.
    limit
        Prompt and generated tokens together never exceed it.
    """

    def __init__(
        self,
        request_id: str,
        prompt: bytes,
        namespace: Namespace,
        limit: int,
        arrival: float,
        use_cache: bool = True,
        private: PrivateTail | None = None,
        marks: tuple[Mark, ...] = (),
    ):
        self.request_id = request_id
        self.namespace = namespace
        self.num_prompt_tokens = self.num_tokens = len(prompt) // TOKEN_BYTES
        self.limit = limit
        self.tokens = np.empty(limit, np.int32)
        self.tokens[: self.num_tokens] = np.frombuffer(prompt, TOKEN_TYPE)
        self._packed = b""  # of the tokens that were known when somebody asked last
        self.arrival = arrival
        self.use_cache = use_cache
        self.private = private
        self.marks = marks
        self.ledger = RequestLedger(self.num_prompt_tokens)
        self.state = RequestState.WAITING
        self.admitted: float | None = None  # when it was first admitted
        self.reservation: Reservation | None = None
        self.preemptions = 0

    def append(self, token: int) -> None:
        """Add a sampled token."""
        self.tokens[self.num_tokens] = token
        self.num_tokens += 1

    def packed(self) -> bytes:
        """The known tokens, packed, as the cache is to see them: made once, and once more after tokens were added."""
        known = len(self._packed) // TOKEN_BYTES
        if known < self.num_tokens:
            tokens = self.tokens[known : self.num_tokens]
            if self.private is not None and known <= self.private.start < self.num_tokens:
                tokens = tokens.copy()
                tokens[self.private.start - known] += self.private.shift
            self._packed += tokens.astype(TOKEN_TYPE, copy=False).tobytes()
        return self._packed

    def account(self) -> Account:
        """Where the prompt's tokens came from, so far."""
        return self.ledger.account()
