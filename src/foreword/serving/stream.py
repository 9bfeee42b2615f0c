"""What comes back of one open request: its updates, or its whole answer, and the usage in them."""

import asyncio
import bisect
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from foreword.errors import TimedOut
from foreword.outputs import ChoiceDelta, Delta
from foreword.serving.call_ids import make_call_id
from foreword.serving.front import DeltaStream
from foreword.serving.neutral import Answer, Choice, Diagnosis, NeutralRequest, PromptLogprobs, TokenUsage, Update
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.tool_forms.base import AnswerPart, CallBegin
from foreword.serving.tool_forms.reader import AnswerReader
from foreword.tokens import unpack_tokens


@dataclass(frozen=True, eq=False, slots=True)
class OpenRequest:
    """A request on its way: what is known of it, for its stream and for its end.

    arrival
        In seconds of the engine's clock.
    timeout
        Seconds from then on in which the answer must be there.
    """

    request: NeutralRequest
    prompt: RenderedPrompt
    arrival: float
    timeout: float
    uses_cache: bool


Diagnose = Callable[[OpenRequest, TokenUsage], Diagnosis | None]
"""Why a request could not reuse an earlier prompt; None when that was not asked."""


class UpdateStream:
    """The updates of one request, to be made in an event loop. ``close`` must be called at the end; closing early aborts it.

    now
        The clock of the request's arrival, in seconds.
    make_reader
        Makes the reader of one continuation.
    """

    def __init__(
        self,
        opened: OpenRequest,
        deltas: DeltaStream,
        now: Callable[[], float],
        diagnose: Diagnose,
        make_reader: Callable[[], AnswerReader],
    ):
        self._opened = opened
        self._deltas = deltas
        self._diagnose = diagnose
        self._readings = [_Reading(make_reader()) for _ in range(opened.request.sampling.n)]
        self._output_tokens = 0
        self._begun = self._finished = False
        self._alarm = asyncio.get_running_loop().call_later(opened.arrival + opened.timeout - now(), self._give_up)

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        """What is new. Raises the request's error, and TimedOut when it takes too long."""
        if self._finished:
            raise StopAsyncIteration
        delta = await self._deltas.next()
        choices, of_prompt = [self._choice(new) for new in delta.choices], delta.prompt_logprobs
        while self._lacks(of_prompt) and not delta.finished:  # another continuation may be ahead of the one that has them
            delta = await self._deltas.next()
            choices += [self._choice(new) for new in delta.choices]
            of_prompt += delta.prompt_logprobs
        self._finished = delta.finished
        usage = self._usage(delta)
        diagnosis = None if self._begun else self._diagnose(self._opened, usage)
        self._begun = True
        told = PromptLogprobs(tuple(unpack_tokens(self._opened.prompt.tokens)), of_prompt) if of_prompt else None
        return Update(tuple(choices), usage, delta.finished, diagnosis, told)

    async def last(self) -> Answer:
        """The whole answer, once it is there."""
        updates = [update async for update in self]
        by_index: dict[int, list[Choice]] = {}
        for update in updates:
            for choice in update.choices:
                by_index.setdefault(choice.index, []).append(choice)
        choices = tuple(_joined(by_index[index]) for index in sorted(by_index))
        return Answer(choices, updates[-1].usage, updates[0].diagnosis, updates[0].prompt)

    def close(self) -> None:
        """No more updates are wanted."""
        self._alarm.cancel()
        self._deltas.close()

    def _give_up(self) -> None:
        too_long = "The request took longer than this server allows. Ask for fewer tokens, or try again later."
        self._deltas.give_up(TimedOut(too_long))

    def _choice(self, new: ChoiceDelta) -> Choice:
        """What is new of a continuation. Here, and only here, thoughts and calls of tools are told from text."""
        reading, request_id = self._readings[new.index], self._opened.request.request_id
        parts, begun = reading.read(new), reading.calls
        begun -= sum(isinstance(part, CallBegin) for part in parts)
        for at, part in enumerate(parts):
            if isinstance(part, CallBegin):
                parts[at] = part if part.call_id else replace(part, call_id=make_call_id(request_id, new.index, begun))
                begun += 1
        self._output_tokens += len(new.token_ids)
        return Choice(
            index=new.index,
            parts=tuple(parts),
            token_ids=new.token_ids,
            finish_reason=new.finish_reason,
            stop_reason=new.stop_reason,
            logprobs=new.logprobs,
            calls=reading.calls,
        )

    def _lacks(self, of_prompt: Sequence[object]) -> bool:
        """Whether more is to be told of the prompt before anything else."""
        wanted = self._opened.request.sampling.prompt_logprobs is not None and not self._begun
        return wanted and len(of_prompt) < self._opened.prompt.num_tokens

    def _usage(self, delta: Delta) -> TokenUsage:
        """The tokens so far. What marks cover counts once, for the first mark at or behind it."""
        account, opened = delta.account, self._opened
        written: dict[float, int] = {}
        start = account.reused
        marks = opened.prompt.marks if opened.uses_cache else ()
        for mark in sorted(marks, key=lambda mark: mark.position):
            if mark.position > start:
                written[mark.ttl_seconds] = written.get(mark.ttl_seconds, 0) + mark.position - start
                start = mark.position
        return TokenUsage(
            account=account,
            output_tokens=self._output_tokens,
            reasoning_tokens=sum(reading.reasoning_tokens for reading in self._readings),
            written=account.computed if opened.uses_cache else 0,
            written_by_ttl=written,
        )


class _Reading:
    """The reading of one continuation, and where in its text the tokens end."""

    def __init__(self, reader: AnswerReader):
        self._reader = reader
        self._ends = array("q")
        self._size = 0

    @property
    def calls(self) -> int:
        """Calls begun so far."""
        return self._reader.calls

    @property
    def reasoning_tokens(self) -> int:
        """Tokens so far of which a part, or a mark around it, is thought."""
        count, counted = 0, 0
        for span in self._reader.thoughts:
            first = max(counted, 0 if span.start == 0 else bisect.bisect_right(self._ends, span.start))
            behind = len(self._ends)
            if span.end is not None:
                behind = min(behind, bisect.bisect_left(self._ends, span.end) + 1)
            count += max(0, behind - first)
            counted = max(counted, behind)
        return count

    def read(self, new: ChoiceDelta) -> list[AnswerPart]:
        """The parts that new text brings."""
        self._size += len(new.text)
        self._ends.extend(new.text_ends)
        missing = len(new.token_ids) - len(new.text_ends)
        self._ends.extend([max(self._size, self._ends[-1] if self._ends else 0)] * missing)
        parts = self._reader.feed(new.text)
        return parts if new.finish_reason is None else parts + self._reader.finish()


def _joined(pieces: Sequence[Choice]) -> Choice:
    """One choice of all its updates."""
    last = pieces[-1]
    if len(pieces) == 1:
        return last
    logprobs = None if last.logprobs is None else tuple(entry for piece in pieces for entry in piece.logprobs or ())
    return replace(
        last,
        parts=tuple(part for piece in pieces for part in piece.parts),
        token_ids=tuple(token for piece in pieces for token in piece.token_ids),
        logprobs=logprobs,
    )
