"""Answers read, in whatever pieces they come."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foreword.serving.reasoning import THINK, ReasoningForm
from foreword.serving.tool_forms.base import AnswerPart, Thought, ToolForm, ToolUse
from foreword.serving.tool_forms.hermes import Hermes
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader, gathered

NO_SCHEMA: dict[str, Any] = {}


def read_parts(
    pieces: Iterable[str],
    tools: Sequence[str] | Mapping[str, Any] = ("web", "map"),
    form: type[ToolForm] = Hermes,
    reasoning: ReasoningForm | None = THINK,
    **more: Any,
) -> list[AnswerPart]:
    """The parts of an answer that comes in pieces."""
    schemas = tools if isinstance(tools, Mapping) else dict.fromkeys(tools, NO_SCHEMA)
    reader = AnswerReader(AnswerForm(form, reasoning), schemas, **more)
    parts = [part for text in pieces for part in reader.feed(text)]
    return parts + reader.finish()


def read(pieces: Iterable[str], *given: Any, **more: Any) -> list[str | Thought | tuple[str, str]]:
    """Texts, thoughts, and calls as name and arguments."""
    return [
        (part.name, part.arguments) if isinstance(part, ToolUse) else part
        for part in gathered(read_parts(pieces, *given, **more))
    ]


def splits(text: str) -> Iterable[list[str]]:
    """The text whole, letter by letter, and in two pieces, parted at every place."""
    yield [text]
    yield list(text)
    for place in range(1, len(text)):
        yield [text[:place], text[place:]]
