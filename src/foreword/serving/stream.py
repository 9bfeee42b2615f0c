"""What comes back of one open request: its updates, or its whole answer, and the usage in them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from foreword.engine import CompletionOutput, RequestOutput
from foreword.engine.engine_thread import OutputStream
from foreword.errors import TimedOut
from foreword.serving.neutral import Answer, Choice, Diagnosis, NeutralRequest, Update, UsableTools, Usage
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.tool_forms.reader import ToolCallReader


@dataclass(frozen=True, eq=False, slots=True)
class OpenRequest:
    """A request on its way: what is known of it, for its stream and for its end.

    arrival
        Seconds of the engine's clock.
    deadline
        Seconds of the event loop's clock, by which the answer must be there.
    """

    request: NeutralRequest
    prompt: RenderedPrompt
    arrival: float
    deadline: float
    uses_cache: bool


Diagnose = Callable[[OpenRequest, Usage], Diagnosis | None]
"""Why a request could not reuse an earlier prompt; None when that was not asked."""


class ChoiceReader:
    """Reads one continuation as it comes: here, and only here, tool calls are told from text."""

    def __init__(self, index: int, tools: UsableTools):
        self._index = index
        self._reader = ToolCallReader(tools.names, tools.parallel)
        self._characters = self._tokens = 0
        self.ended = False

    def read(self, answer: CompletionOutput) -> Choice | None:
        """What a continuation has to tell since the last time; None if nothing."""
        text, token_ids = answer.text[self._characters :], answer.token_ids[self._tokens :]
        logprobs = None if answer.logprobs is None else tuple(answer.logprobs[self._tokens :])
        if self.ended or not (token_ids or answer.finish_reason):
            return None
        self._characters, self._tokens = len(answer.text), len(answer.token_ids)
        self.ended = answer.finish_reason is not None
        parts = self._reader.feed(text)
        if self.ended:
            parts += self._reader.finish()
        return Choice(
            index=self._index,
            parts=tuple(parts),
            token_ids=tuple(token_ids),
            finish_reason=answer.finish_reason,
            stop_reason=answer.stop_reason,
            logprobs=logprobs,
            calls=self._reader.calls,
        )


class UpdateStream:
    """The updates of one request. ``close`` must be called at the end; closing early aborts the request."""

    def __init__(self, opened: OpenRequest, outputs: OutputStream, diagnose: Diagnose):
        self._opened = opened
        self._outputs = outputs
        self._diagnose = diagnose
        request = opened.request
        self._readers = [ChoiceReader(index, request.tools) for index in range(request.sampling.n)]
        self._begun = self._finished = False

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        """What is new. Raises the request's error, and TimedOut when it takes too long."""
        if self._finished:
            raise StopAsyncIteration
        output = await self._newest()
        self._finished = output.finished
        used = usage(self._opened, output)
        diagnosis = None if self._begun else self._diagnose(self._opened, used)
        self._begun = True
        return Update(self._choices(output), used, output.finished, diagnosis)

    async def last(self) -> Answer:
        """The whole answer, once it is there."""
        output = await self._newest()
        while not output.finished:
            output = await self._newest()
        used = usage(self._opened, output)
        return Answer(self._choices(output), used, self._diagnose(self._opened, used))

    def close(self) -> None:
        """No more updates are wanted."""
        self._outputs.close()

    def _choices(self, output: RequestOutput) -> tuple[Choice, ...]:
        found = [reader.read(answer) for reader, answer in zip(self._readers, output.outputs, strict=True)]
        return tuple(choice for choice in found if choice is not None)

    async def _newest(self) -> RequestOutput:
        try:
            async with asyncio.timeout_at(self._opened.deadline):
                return await self._outputs.next()
        except TimeoutError:
            self.close()
            raise TimedOut(
                "The request took longer than this server allows. Ask for fewer tokens, or try again later."
            ) from None


def usage(opened: OpenRequest, output: RequestOutput) -> Usage:
    """A request's tokens so far: what its marks cover is counted once, for the first mark at or behind it."""
    account = output.account
    written: dict[float, int] = {}
    start = account.reused
    marks = opened.prompt.marks if opened.uses_cache else ()
    for mark in sorted(marks, key=lambda mark: mark.position):
        if mark.position > start:
            written[mark.ttl_seconds] = written.get(mark.ttl_seconds, 0) + mark.position - start
            start = mark.position
    return Usage(
        account=account,
        output_tokens=sum(len(answer.token_ids) for answer in output.outputs),
        written=account.computed if opened.uses_cache else 0,
        written_by_ttl=written,
    )
