"""Text in, parts of an answer out, while a model writes. Reading cannot fail: what is not understood is text."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from foreword.serving.reasoning import THINK, ReasoningForm
from foreword.serving.tool_forms.base import (
    AnswerPart,
    CallBegin,
    CallEnd,
    CallText,
    Parts,
    Schemas,
    Span,
    Thought,
    ToolForm,
    ToolUse,
    WholePart,
)
from foreword.serving.tool_forms.hermes import Hermes
from foreword.serving.tool_forms.source import Reading, Source

OnFault = Callable[[Exception], None]
"""Is told of a fault of ours that an answer has met."""


def _nobody(error: Exception) -> None:
    """Tells nobody."""
    del error


@dataclass(frozen=True)
class AnswerForm:
    """How a model writes.

    reasoning
        None: what it thinks is text like all else.
    """

    calls: type[ToolForm] = Hermes
    reasoning: ReasoningForm | None = THINK

    @property
    def special(self) -> tuple[str, ...]:
        """Texts that may be special tokens and that a reader must see."""
        thoughts = () if self.reasoning is None else (self.reasoning.begin, self.reasoning.end)
        return (*self.calls.special, *thoughts)


class AnswerReader:
    """Reads one answer. Without tools no call is looked for; without ``parallel`` only the first one counts.

    thinking
        Whether the prompt has opened the model's thoughts.
    on_fault
        Is told what a form raised; from then on all is text.
    hidden
        Special tokens that are left out of the text, where they are no part of a call or a thought.
    """

    def __init__(
        self,
        form: AnswerForm,
        tools: Schemas,
        parallel: bool = True,
        thinking: bool = False,
        hidden: tuple[str, ...] = (),
        on_fault: OnFault = _nobody,
    ):
        self._source = Source()
        self._parts = Parts(holds_blanks=bool(tools), tells_thoughts=form.reasoning is not None)
        self._parallel, self._hidden = parallel, hidden
        self._calls = form.calls(self._source, self._parts, tools)
        self._reasoning, self._thinking = form.reasoning, thinking
        self._on_fault = on_fault
        self._told_calls, self._counts = 0, False
        self._reading: Reading[None] | None = self._answer(bool(tools))

    @property
    def calls(self) -> int:
        """Calls told so far."""
        return self._told_calls

    @property
    def thoughts(self) -> Sequence[Span]:
        """Where in the answer the model thinks, marks included."""
        return self._parts.thoughts

    def feed(self, text: str) -> list[AnswerPart]:
        """What is certain after the next piece of the answer."""
        self._source.feed(text)
        return self._go_on()

    def finish(self) -> list[AnswerPart]:
        """What is left at the end of the answer."""
        self._source.end()
        return self._go_on()

    def _answer(self, has_tools: bool) -> Reading[None]:
        if self._calls.thinks:
            yield from self._calls.read()
        else:
            if self._reasoning is not None:
                yield from self._reasoning.read(self._source, self._parts, self._thinking)
            if has_tools:
                yield from self._calls.read()
        while (yield from self._source.more()):
            self._parts.text(self._source.rest())
        self._parts.finish()

    def _go_on(self) -> list[AnswerPart]:
        if self._reading is not None:
            try:
                next(self._reading)
            except StopIteration:
                self._reading = None
            except Exception as error:  # a fault of a reader must not take the answer away
                self._reading = None
                self._on_fault(error)
        if self._reading is None:
            self._parts.text(self._source.rest())
        return list(self._shown())

    def _shown(self) -> Iterator[AnswerPart]:
        """What is new, without calls that do not count and without hidden tokens."""
        for part in self._parts.take():
            if isinstance(part, CallBegin):
                self._counts = self._parallel or not self._told_calls
                self._told_calls += self._counts
            if isinstance(part, CallBegin | CallText | CallEnd):
                if self._counts:
                    yield part
                continue
            if isinstance(part, str):
                for text in self._hidden:
                    part = part.replace(text, "")
            if part:
                yield part


def gathered(parts: Iterable[AnswerPart]) -> list[WholePart]:
    """Parts of an answer with each text, thought and call in one piece; a call whose end has not come is not whole."""
    whole: list[WholePart] = []
    for kind, group in itertools.groupby(parts, _kind):
        pieces = list(group)
        if kind is ToolUse:
            whole += _calls(pieces)
        elif kind is Thought:
            whole.append(Thought("".join(part.text for part in pieces if isinstance(part, Thought))))
        else:
            whole.append("".join(part for part in pieces if isinstance(part, str)))
    return whole


def _kind(part: AnswerPart) -> type:
    return ToolUse if isinstance(part, CallBegin | CallText | CallEnd) else type(part)


def _calls(parts: Sequence[AnswerPart]) -> Iterator[ToolUse]:
    """The calls whose pieces follow one another."""
    starts = [at for at, part in enumerate(parts) if isinstance(part, CallBegin)]
    for at, end in itertools.pairwise([*starts, len(parts)]):
        begin, last = parts[at], parts[end - 1]
        assert isinstance(begin, CallBegin)
        arguments = "".join(part.text for part in parts[at:end] if isinstance(part, CallText))
        yield ToolUse(begin.name, arguments, begin.call_id, isinstance(last, CallEnd) and last.whole)
