"""The answer to one request on its way from the engine's thread to a reader in an event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from foreword.account import Account
from foreword.engine.generation import Generation, Reader
from foreword.outputs import ChoiceDelta, Delta, Logprob, RequestMetrics, RequestOutput

AFTER_ANSWER = 0.001
"""Seconds after which a request's end is told to ``on_end``: its reader, and the bytes it sends, go first."""


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """How a request ended that the engine had taken. ``account`` and ``metrics`` are None where the engine itself ended.

    outcome
        ``stop``, ``length``, ``abort`` or ``error``: that of the first continuation.
    """

    outcome: str
    output_tokens: int
    account: Account | None
    metrics: RequestMetrics | None
    error: Exception | None


OnEnd = Callable[[RequestEnd], None]
"""Called once in the event loop when a request has ended."""


class Stream:
    """What comes of one request, for one reader in one event loop.

    Each look gives what has come since the one before: a slow reader gets more at a time and loses nothing, and what waits
    for it is no more than the answer. ``close`` must be called at the end; closing early aborts the request.
    """

    def __init__(self, abort: Callable[["Stream"], None], on_end: OnEnd | None = None):
        self.loop = asyncio.get_running_loop()
        self._abort = abort
        self._on_end = on_end
        self._news = asyncio.Event()
        self._waiting = WaitingNews()
        self._error: Exception | None = None
        self._given_up: Exception | None = None
        self._ended = False
        self._generation: Generation | None = None
        self._reader: Reader | None = None

    async def next(self) -> Delta:
        """What is new, as soon as there is something; not to be asked for after the last. Raises the request's error."""
        await self._news.wait()
        if self._given_up is not None:
            raise self._given_up
        if self._waiting.latest is None:
            assert self._error is not None
            raise self._error
        if self._error is None:
            self._news.clear()
        return self._waiting.take()

    async def last(self) -> Delta:
        """All that has not been read, once the request has ended. Raises its error."""
        while not self._ended:
            await self._news.wait()
            self._news.clear()
        self._news.set()
        if self._error is not None:
            raise self._error
        return await self.next()

    def output(self) -> RequestOutput:
        """The whole answer, made when asked for; only once the request has ended."""
        assert self._ended
        assert self._generation is not None
        return self._generation.output()

    def give_up(self, error: Exception) -> None:
        """Nobody waits any longer: whoever reads gets this error, and the request is aborted if it has not ended."""
        self._given_up = error
        self._news.set()
        self.close()

    def close(self) -> None:
        """Nobody reads any more."""
        if not self._ended:
            self._abort(self)

    def attach(self, generation: Generation) -> None:
        """From the engine's thread: the engine has taken the request."""
        self._generation, self._reader = generation, Reader(generation)

    @property
    def request_id(self) -> str | None:
        """The request's name; None before the engine has taken it."""
        return None if self._generation is None else self._generation.request_id

    def take(self) -> Delta:
        """From the engine's thread: what the generation has brought since the last time."""
        assert self._reader is not None
        return self._reader.take()

    def deliver(self, delta: Delta | None, error: Exception | None = None) -> None:
        """From the event loop: what is new, and the error that ended the request. None: the engine itself has ended."""
        if self._ended:
            return
        self._error = error
        self._ended = delta is None or delta.finished
        news = delta if delta is None or error is None else _without_end(delta)
        if news is not None:
            self._waiting.add(news)
        self._news.set()
        if self._ended and self._on_end is not None:
            self.loop.call_later(AFTER_ANSWER, self._on_end, self._end(delta))

    def _end(self, delta: Delta | None) -> RequestEnd:
        generation = self._generation
        if delta is None or generation is None:
            tokens = 0 if generation is None else generation.num_output_tokens
            return RequestEnd("error", tokens, None, None, self._error)
        outcome = generation.continuations[0].finish_reason or "error"
        return RequestEnd(outcome, generation.num_output_tokens, delta.account, delta.metrics, self._error)


@dataclass(slots=True)
class _Choice:
    """What waits of one continuation."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    text_ends: list[int] = field(default_factory=list)

    def add(self, delta: ChoiceDelta) -> None:
        self.text.append(delta.text)
        self.token_ids.extend(delta.token_ids)
        self.text_ends.extend(delta.text_ends)
        if delta.logprobs is not None:
            self.logprobs = self.logprobs or []
            self.logprobs.extend(delta.logprobs)
        self.finish_reason, self.stop_reason = delta.finish_reason, delta.stop_reason


class WaitingNews:
    """News of one request that have come and were not read; ``latest`` is None when there are none."""

    def __init__(self) -> None:
        self.latest: Delta | None = None
        self._joined = False  # whether ``latest`` is the last of several
        self._choices: dict[int, _Choice] = {}
        self._prompt: tuple[dict[int, Logprob] | None, ...] = ()

    def add(self, delta: Delta) -> None:
        """Put more behind what waits."""
        before, self.latest = self.latest, delta
        if before is not None:
            if not self._joined:
                self._join(before)
            self._join(delta)

    def _join(self, delta: Delta) -> None:
        self._joined = True
        self._prompt += delta.prompt_logprobs
        for choice in delta.choices:
            self._choices.setdefault(choice.index, _Choice()).add(choice)

    def take(self) -> Delta:
        """All that waits, as one."""
        delta, self.latest = self.latest, None
        assert delta is not None
        if self._joined:
            choices = tuple(_delta(*entry) for entry in sorted(self._choices.items()))
            delta = replace(delta, choices=choices, prompt_logprobs=self._prompt)
            self._joined, self._choices, self._prompt = False, {}, ()
        return delta


def _delta(index: int, choice: _Choice) -> ChoiceDelta:
    logprobs = None if choice.logprobs is None else tuple(choice.logprobs)
    text, tokens = "".join(choice.text), tuple(choice.token_ids)
    ends = tuple(choice.text_ends)
    return ChoiceDelta(index, text, tokens, logprobs, choice.finish_reason, choice.stop_reason, ends)


def _without_end(delta: Delta) -> Delta | None:
    """What a request that failed had generated before; None if nothing. Its end is told by its error."""
    choices = tuple(replace(choice, finish_reason=None) for choice in delta.choices if choice.token_ids)
    return replace(delta, choices=choices, finished=False) if choices else None
