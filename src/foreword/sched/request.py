"""A request as the scheduler sees it: tokens, limits, and where it stands."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from foreword.cache import LedgerRecord, Namespace, RequestLedger, Reservation, pack_tokens


class RequestState(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


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
        self.ledger = RequestLedger(len(prompt))
        self.state = RequestState.WAITING
        self.reservation: Reservation | None = None
        self.preemptions = 0

    def append(self, token: int) -> None:
        """Add a sampled token."""
        self.tokens[self.num_tokens] = token
        self.num_tokens += 1

    def packed(self, start: int = 0) -> bytes:
        """The known tokens from ``start`` on, packed."""
        return pack_tokens(self.tokens[start : self.num_tokens])

    def account(self) -> LedgerRecord:
        """Where the prompt's tokens came from, so far."""
        return self.ledger.record()
