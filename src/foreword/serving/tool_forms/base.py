"""The parts of an answer, the tools it may call, and what a form of tool calls is."""

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foreword.serving.tool_forms.source import MOST_BLANKS, NoCall, Reading, Source, marks


@dataclass(frozen=True, slots=True)
class Thought:
    """Text that the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call of a tool begins. ``call_id``: the one that the model wrote; None where it wrote none."""

    name: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallText:
    """What comes next of a call's arguments: all of them, joined, are a JSON object."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call has been told. ``whole``: False where the model did not write it to its end, and it was closed here."""

    whole: bool = True


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool, whole; ``arguments`` is a JSON object in text."""

    name: str
    arguments: str
    call_id: str | None = None
    whole: bool = True


AnswerPart = str | Thought | CallBegin | CallText | CallEnd
"""Of an answer, as it comes: a text as it was written, a thought, or a piece of a call; such pieces follow each other."""
WholePart = str | Thought | ToolUse
"""Of an answer that is there."""

Schemas = Mapping[str, Mapping[str, Any]]
"""The tools that an answer may call: the JSON schema of each one's arguments, by name."""


@dataclass(frozen=True, slots=True)
class CallShape:
    """The text of calls in a form, for a grammar that forces them:

        begin  call (separator call)*  end        call: before_name NAME before_arguments ARGUMENTS after_arguments

    with NAME as it is and ARGUMENTS a JSON object, or parameters.

    special
        Those parts of the texts that are special tokens in tokenizers of the family; elsewhere they are plain text.
    parameters
        How each argument is written, where they are no JSON object.
    """

    before_name: str
    before_arguments: str
    after_arguments: str
    begin: str = ""
    separator: str = ""
    end: str = ""
    special: tuple[str, ...] = ()
    parameters: "ParameterShape | None" = None


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """The text of one argument: before_key KEY before_value VALUE after_value, with a string as it is and all else as JSON.

    before_other
        In place of ``before_value`` before what is no string, where the form tells them apart.
    """

    before_key: str
    before_value: str
    after_value: str
    before_other: str | None = None

    def written(self, key: str, value: str, is_string: bool) -> str:
        """An argument as the model is to write it."""
        before = self.before_value if is_string or self.before_other is None else self.before_other
        return f"{self.before_key}{key}{before}{value}{self.after_value}"


@dataclass(slots=True)
class Span:
    """A part of an answer, in characters. ``end`` is None where it goes on."""

    start: int
    end: int | None = None


class Parts:
    """What has been read of an answer, until it is taken.

    Blanks before, between and behind calls are dropped: with ``holds_blanks`` those at the end of what was told wait for
    what comes behind them, but no more than MOST_BLANKS. Without ``tells_thoughts`` they are text.
    """

    def __init__(self, holds_blanks: bool, tells_thoughts: bool = True):
        self.calls = 0
        """Calls begun so far."""
        self.thoughts: list[Span] = []
        self._holds_blanks, self._tells_thoughts = holds_blanks, tells_thoughts
        self._parts: list[AnswerPart] = []
        self._blanks = ""  # they belong to the last text or thought
        self._thinks = False

    def take(self) -> list[AnswerPart]:
        """What is new, pieces of one kind joined."""
        told, self._parts = self._parts, []
        joined: list[AnswerPart] = []
        for kind, parts in itertools.groupby(told, type):
            if kind is str:
                joined.append("".join(part for part in parts if isinstance(part, str)))
            elif kind in (Thought, CallText):
                joined.append(kind("".join(part.text for part in parts if isinstance(part, Thought | CallText))))
            else:
                joined += parts
        return joined

    def text(self, text: str) -> None:
        """The model says something."""
        if self._thinks:
            self._thinks, self._blanks = False, ""
        certain = self._certain(text) if self._holds_blanks else text
        if certain:
            self._parts.append(certain)

    def thought(self, text: str) -> None:
        """The model thinks something. Blanks around a thought are dropped."""
        if not self._tells_thoughts:
            self.text(text)
            return
        if not self._thinks:
            self._flush()
            text = text.lstrip()
            self._thinks = bool(text)
        certain = self._certain(text)
        if certain:
            self._parts.append(Thought(certain))

    def thinks_from(self, position: int) -> None:
        """Thoughts begin, with a mark at this place of the answer."""
        if self._tells_thoughts:
            self.thoughts.append(Span(position))

    def thinks_to(self, position: int) -> None:
        """They end, with a mark up to this place."""
        if self.thoughts:
            self.thoughts[-1].end = position
        if self._thinks:
            self._thinks, self._blanks = False, ""

    def drop_blanks(self) -> None:
        """The blanks at the end of what was told mean nothing."""
        self._blanks = ""

    def begin(self, name: str, call_id: str | None = None) -> None:
        """A call begins."""
        self.calls += 1
        self._thinks, self._blanks = False, ""
        self._parts.append(CallBegin(name, call_id))

    def arguments(self, text: str) -> None:
        """The call goes on."""
        self._parts.append(CallText(text))

    def end(self, whole: bool) -> None:
        """The call is done."""
        self._parts.append(CallEnd(whole))

    def finish(self) -> None:
        """The answer is done."""
        if not self.calls:
            self._flush()

    def _flush(self) -> None:
        if self._blanks and not self._thinks:
            self._parts.append(self._blanks)
        self._thinks, self._blanks = False, ""

    def _certain(self, text: str) -> str:
        """What was told, without the blanks at its end."""
        certain = text.rstrip()
        if certain:
            certain, self._blanks = self._blanks + certain, text[len(certain) :]
        else:
            self._blanks += text
        if len(self._blanks) > MOST_BLANKS:
            certain, self._blanks = certain + self._blanks, ""
        return certain


class ToolForm:
    """A reader of one answer in one form.

    Only calls of tools that were offered count. All else is text, as it was written; blanks between and after calls are
    dropped. A form says by which ``begins`` it knows that a call may come, and reads what stands ``behind`` one; an answer
    may also begin with a call in JSON and nothing around it (``leading_calls``).

    name
        By which the form is chosen.
    begins, ends
        Texts before and behind calls. An end without a beginning is text.
    fences
        Beginnings of fences that may hold calls, wherever they stand.
    special
        Texts of the form that may be special tokens: the text must have them, whatever else is left out of it.
    shape
        How a call is written, for a grammar; None where that cannot be said.
    thinks
        Whether the form tells by itself what is thought.
    """

    name: ClassVar[str]
    begins: ClassVar[tuple[str, ...]]
    ends: ClassVar[tuple[str, ...]] = ()
    fences: ClassVar[tuple[str, ...]] = ()
    special: ClassVar[tuple[str, ...]] = ()
    shape: ClassVar[CallShape | None] = None
    thinks: ClassVar[bool] = False

    def __init__(self, source: Source, parts: Parts, tools: Schemas):
        self.source = source
        self.parts = parts
        self.tools = tools
        self.longest_name = max(map(len, tools), default=0)
        self._open = False  # a call's end has not been seen

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Whether a chat template writes calls in this form."""
        return any(begin in template for begin in cls.begins)

    def read(self) -> Reading[None]:
        """Read a whole answer."""
        yield from self.attempt(self.leading_calls())
        while True:
            known = marks(*self.begins, *self.fences, *(self.ends if self._open else ()))
            mark = yield from self.source.to_mark(known, self.parts.text)
            if mark is None:
                return
            if mark in self.ends and mark not in self.begins:
                self._open = False
                continue
            self.source.keep(mark)
            if mark in self.fences:
                yield from self.attempt(self.fenced_calls())
            elif (yield from self.attempt(self.behind(mark))):
                yield from self._end()

    def leading_calls(self) -> Reading[bool]:
        """Calls with which an answer begins without a mark."""
        yield from ()
        return False

    def fenced_calls(self) -> Reading[bool]:
        """Calls in a fence that stands within the answer."""
        yield from ()
        return False

    def behind(self, mark: str) -> Reading[bool]:
        """Calls behind a mark; whether there were any. NoCall, or False, where it led to none."""
        raise NotImplementedError

    def attempt(self, reading: Reading[bool]) -> Reading[bool]:
        """Read what may be calls. What is kept when none comes, or none comes any more, is text."""
        before = self.parts.calls
        with contextlib.suppress(NoCall):
            yield from reading
        kept = self.source.let_go()
        called = self.parts.calls > before
        if kept.strip(SEPARATORS) or not called:
            self.parts.text(kept.lstrip(SEPARATORS.strip()) if called else kept)
        elif kept:
            self.parts.text(_blanks_of(kept))
        return called

    def known(self, name: str) -> str:
        """The tool that the model names. NoCall if there is none of that name."""
        name = name.strip().strip("\"'")
        for candidate in (name, name.removeprefix("functions.")):
            if candidate in self.tools:
                return candidate
        raise NoCall

    def _end(self) -> Reading[None]:
        """Take the ends of a call, one after another; one that does not come at once may come later."""
        self._open = bool(self.ends)
        while self.ends:
            blanks, _ = yield from self.source.ahead()
            end = yield from self.source.starts(*self.ends, behind=len(blanks))
            if end is None:
                self.source.take(self.source.last_begun(self.ends, len(blanks)))
                return
            self.source.take(len(blanks) + len(end))
            self.parts.drop_blanks()
            self._open = False


SEPARATORS = " \t\r\n,;]}"
"""What may stand between and behind calls in JSON and means nothing."""


def _blanks_of(text: str) -> str:
    """The blanks with which a text ends."""
    return text[len(text.rstrip()) :]
