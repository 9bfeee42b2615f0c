"""Choices as serving makes them of what a model writes."""

from collections.abc import Collection, Sequence

from foreword.serving.neutral import Choice
from foreword.serving.tool_forms.reader import ToolCallReader


def choices(pieces: Sequence[str], names: Collection[str] = (), finish: str = "stop") -> list[Choice]:
    """One answer that comes in pieces, a token each; the last one ends it."""
    reader, made = ToolCallReader(names), []
    for number, text in enumerate(pieces, start=1):
        last = number == len(pieces)
        parts = [*reader.feed(text), *(reader.finish() if last else ())]
        made.append(Choice(0, tuple(parts), (number,), finish if last else None, calls=reader.calls))
    return made
