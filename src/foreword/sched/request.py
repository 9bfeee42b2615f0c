"""A request as the scheduler sees it: tokens, limits, and where it stands."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from foreword.account import Account
from foreword.cache import Mark, Namespace, RequestLedger, Reservation, pack_tokens


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

    tokens
        int32 buffer of ``limit`` entries; the first ``num_tokens`` are known.
    limit
        Prompt and generated tokens together never exceed it.
    """

    def __init__(
        self,
        request_id: str,
        prompt: npt.NDArray[np.int32],
        namespace: Namespace,
        limit: int,
        arrival: float,
        use_cache: bool = True,
        private: PrivateTail | None = None,
        marks: tuple[Mark, ...] = (),
    ):
        self.request_id = request_id
        self.namespace = namespace
        self.num_prompt_tokens = len(prompt)
        self.num_tokens = len(prompt)
        self.limit = limit
        self.tokens = np.empty(limit, np.int32)
        self.tokens[: len(prompt)] = prompt
        self.arrival = arrival
        self.use_cache = use_cache
        self.private = private
        self.marks = marks
        self.ledger = RequestLedger(len(prompt))
        self.state = RequestState.WAITING
        self.admitted: float | None = None  # when it was first admitted
        self.reservation: Reservation | None = None
        self.preemptions = 0

    def append(self, token: int) -> None:
        """Add a sampled token."""
        self.tokens[self.num_tokens] = token
        self.num_tokens += 1

    def packed(self, start: int = 0) -> bytes:
        """The known tokens from ``start`` on, packed, as the cache is to see them."""
        tokens = self.tokens[start : self.num_tokens]
        if self.private is not None and start <= self.private.start < self.num_tokens:
            tokens = tokens.copy()
            tokens[self.private.start - start] += self.private.shift
        return pack_tokens(tokens)

    def account(self) -> Account:
        """Where the prompt's tokens came from, so far."""
        return self.ledger.account()
