"""Text in, parts of an answer out, while a model writes. Reading cannot fail: what is not understood is text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
    """Parts of an answer with each call in one piece; a call whose end has not come is not whole."""
    whole: list[WholePart] = []
    for part in parts:
        last = whole[-1] if whole else None
        if isinstance(part, CallBegin):
            whole.append(ToolUse(part.name, "", part.call_id, whole=False))
        elif isinstance(part, CallText) and isinstance(last, ToolUse):
            whole[-1] = replace(last, arguments=last.arguments + part.text)
        elif isinstance(part, CallEnd) and isinstance(last, ToolUse):
            whole[-1] = replace(last, whole=part.whole)
        elif isinstance(part, Thought) and isinstance(last, Thought):
            whole[-1] = Thought(last.text + part.text)
        elif isinstance(part, str) and isinstance(last, str):
            whole[-1] = last + part
        elif isinstance(part, str | Thought):
            whole.append(part)
    return whole
