"""One request of a fleet: answered by one replica after another, if need be, with the very bytes that one would have given.

What a replica has told is kept as tokens. Where it dies or falls silent, the next one is given the prompt and these tokens
and goes on behind them; what the first one says later is not heard.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from foreword.account import Account
from foreword.engine.request import ChoiceProgress, EngineRequest, Progress
from foreword.engine.stream import AFTER_ANSWER, OnEnd, RequestEnd, WaitingNews
from foreword.errors import StepFailed
from foreword.outputs import ChoiceDelta, Delta, Logprob, RequestMetrics

Tell = Callable[[Delta | None, Exception | None], None]
"""Told what is new of a request, or the error that ended it."""
FRUITLESS = 3
"""So many replicas in a row may be lost with a request before it has brought a token; then it is taken for the cause."""


@dataclass(slots=True)
class _SoFar:
    """What has been told of one continuation."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None

    def add(self, new: ChoiceDelta) -> None:
        self.token_ids += new.token_ids
        if new.logprobs is not None:
            self.logprobs = [*(self.logprobs or ()), *new.logprobs]
        self.finish_reason = new.finish_reason

    def progress(self, wants_logprobs: bool) -> ChoiceProgress:
        return ChoiceProgress(tuple(self.token_ids), tuple(self.logprobs or ()) if wants_logprobs else None)


class FleetStream:
    """The answer to one request, for one reader in one event loop; see DeltaStream.

    request
        With a seed, so that every replica draws the same tokens.
    now
        The fleet's clock, in seconds.
    """

    def __init__(self, request: EngineRequest, now: Callable[[], float], on_end: OnEnd):
        self.request = request
        self.attempts = 0
        self.fruitless = 0
        """Replicas lost in a row before one brought a token."""
        self.on_start: Callable[[FleetStream, int], None] = lambda *_: None
        """Called when a replica has begun to answer, with the tokens of the prompt that it did not compute."""
        self.on_over: Callable[[FleetStream], None] = lambda _: None
        """Called when the request needs no replica any more."""
        self._loop = asyncio.get_running_loop()
        self._now = now
        self._arrival = now()
        self._on_end = on_end
        self._cancel: Callable[[], None] = lambda: None
        self._choices = [_SoFar() for _ in range(request.params.n)]
        self._told_prompt = 0
        self._account: Account | None = None  # of the attempts before this one
        self._latest: Account | None = None
        self._preemptions = 0
        self._first_token: float | None = None
        self._begun = False  # this attempt has brought something
        self._news = asyncio.Event()
        self._waiting = WaitingNews()
        self._error: Exception | None = None
        self._given_up: Exception | None = None
        self.ended = False

    @property
    def attempt_id(self) -> str:
        """The request's name at the replica that has it now: an earlier one may not have let go of the name before."""
        return f"{self.request.request_id}~{self.attempts}" if self.attempts > 1 else str(self.request.request_id)

    def next_attempt(self) -> EngineRequest:
        """What the next replica is to be asked; from now on nothing is heard of the one before."""
        self.attempts += 1
        self._cancel = lambda: None
        self._begun = False
        self._account = self._latest
        started = any(choice.token_ids for choice in self._choices) or self._told_prompt
        wants = self.request.params.logprobs is not None
        resume = Progress(tuple(each.progress(wants) for each in self._choices), self._told_prompt) if started else None
        return replace(self.request, request_id=self.attempt_id, stream=True, resume=resume)

    def teller(self) -> Tell:
        """Where the replica of this attempt tells what is new."""
        attempt = self.attempts
        return lambda delta, error: self._took(delta, error) if attempt == self.attempts else None

    def asked(self, cancel: Callable[[], None]) -> None:
        """The replica of this attempt has the request; ``cancel`` ends it there."""
        self._cancel = cancel

    def lost(self) -> None:
        """The replica of this attempt is gone: nothing more is heard of it."""
        self.fruitless = 0 if self._begun else self.fruitless + 1
        self.attempts += 1
        self._cancel = lambda: None

    def known_tokens(self) -> list[int]:
        """What has been generated of the first continuation."""
        return self._choices[0].token_ids

    async def next(self) -> Delta:
        """What is new, as soon as there is something. Raises the request's error."""
        await self._news.wait()
        if self._given_up is not None:
            raise self._given_up
        if self._waiting.latest is None:
            assert self._error is not None
            raise self._error
        if not self.ended or self._error is None:
            self._news.clear()
        return self._waiting.take()

    def give_up(self, error: Exception) -> None:
        """Nobody waits any longer: whoever reads gets this error, and the request ends if it has not."""
        self._given_up = error
        self._news.set()
        self.close()

    def close(self) -> None:
        """Nobody reads any more."""
        if not self.ended:
            self._cancel()
            self.fail(StepFailed("The request was aborted."), "abort")

    def fail(self, error: Exception, outcome: str = "error") -> None:
        """The request ends without the rest of its answer."""
        if not self.ended:
            self._error = error
            self._end(outcome)

    def _took(self, delta: Delta | None, error: Exception | None) -> None:
        if self.ended:
            return
        if delta is not None:
            self._add(delta)
        if error is not None:
            self.fail(error)

    def _add(self, delta: Delta) -> None:
        fresh = tuple(each for each in delta.choices if self._choices[each.index].finish_reason is None)
        for choice in fresh:
            self._choices[choice.index].add(choice)
        self._told_prompt += len(delta.prompt_logprobs)
        if not self._begun:
            self._begun = True
            self.on_start(self, delta.account.reused)
        if self._first_token is None and any(choice.token_ids for choice in fresh):
            self._first_token = self._now()
        self._latest = _joined(self._account, delta.account)
        self._preemptions = delta.metrics.preemptions
        if fresh or delta.prompt_logprobs or delta.finished:
            metrics = self._metrics(self._now() if delta.finished else None)
            name = str(self.request.request_id)
            self._waiting.add(replace(delta, request_id=name, choices=fresh, account=self._latest, metrics=metrics))
            self._news.set()
        if delta.finished:
            self._end(self._choices[0].finish_reason or "error")

    def _metrics(self, finished: float | None) -> RequestMetrics:
        return RequestMetrics(self._arrival, self._first_token, finished, self._preemptions)

    def _end(self, outcome: str) -> None:
        self.ended = True
        self._news.set()
        self.on_over(self)
        tokens = sum(len(choice.token_ids) for choice in self._choices)
        metrics = None if self._latest is None else self._metrics(self._now())
        self._loop.call_later(AFTER_ANSWER, self._on_end, RequestEnd(outcome, tokens, self._latest, metrics, self._error))


def _joined(before: Account | None, now: Account) -> Account:
    """A prompt's account over two replicas: its sources are those of the first; what the second computed came again."""
    if before is None or before.processed < before.prompt_tokens:
        return now
    return replace(before, recomputed=before.recomputed + now.computed + now.recomputed)
