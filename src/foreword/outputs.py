"""What a generation gives back; the names are those that vLLM users know, the last fields are Foreword's."""

from dataclasses import dataclass

from foreword.account import Account, MissReason


@dataclass(frozen=True, slots=True)
class Logprob:
    """Natural logarithm of a token's probability, its rank (1 is the likeliest), and what it adds to the text.

    decoded_token
        U+FFFD where it is a part of a character.
    token_bytes
        The same in bytes: those of all tokens, joined, are the text in UTF-8.
    """

    logprob: float
    rank: int
    decoded_token: str
    token_bytes: bytes = b""


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """Seconds of the engine's clock."""

    arrival_time: float
    first_token_time: float | None
    finished_time: float | None
    preemptions: int

    @property
    def time_to_first_token(self) -> float | None:
        """TTFT, from the request's arrival."""
        return None if self.first_token_time is None else self.first_token_time - self.arrival_time


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One continuation of the prompt.

    finish_reason
        ``stop`` (end token, stop token, stop text), ``length``, ``abort``, ``error``; None while it runs.
    stop_reason
        The stop text or stop token id that ended it; None for the model's own end token.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A prompt, its continuations so far, and the account of its tokens.

    num_cached_tokens
        Prompt tokens whose KV was not computed for this request: cached, or shared in flight with another one. For n > 1
        the account is that of the first continuation; the others share its prompt.
    miss_reason
        Why the hit ended where it ended; ``account.hit_end`` has the details.
    error
        Why the request was not answered; None when it was.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestMetrics
    account: Account
    error: Exception | None = None

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that were not computed for this request."""
        return self.account.reused

    @property
    def miss_reason(self) -> MissReason | None:
        """The reason why the hit ended where it ended; None while the cache has not been asked."""
        return self.account.miss_reason


@dataclass(frozen=True, slots=True)
class ChoiceDelta:
    """What is new of one continuation, and how it ended if it has; see CompletionOutput.

    text_ends
        Of each new token, how many characters the answer had with its text; the last tokens may have none: they add nothing.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[dict[int, Logprob], ...] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    text_ends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new of a request since its reader looked last; the account and the times are those of now.

    ``choices`` has the continuations with news only, each of whose ends is told once. ``finished`` is told once, at the end.
    ``prompt_logprobs``: of the prompt's tokens from the first on, those that have been computed since.
    """

    request_id: str
    choices: tuple[ChoiceDelta, ...]
    account: Account
    metrics: RequestMetrics
    finished: bool
    prompt_logprobs: tuple[dict[int, Logprob] | None, ...] = ()
