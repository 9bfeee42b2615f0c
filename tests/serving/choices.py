"""Choices as serving makes them of what a model writes."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from foreword.serving.call_ids import make_call_id
from foreword.serving.neutral import Choice
from foreword.serving.tool_forms.base import CallBegin
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader

NO_SCHEMA: dict[str, Any] = {}


def choices(pieces: Sequence[str], names: Collection[str] = (), finish: str = "stop") -> list[Choice]:
    """One answer that comes in pieces, a token each; the last one ends it."""
    reader, made = AnswerReader(AnswerForm(), dict.fromkeys(names, NO_SCHEMA)), []
    ids = (make_call_id("r", 0, number) for number in range(1000))
    for number, text in enumerate(pieces, start=1):
        last = number == len(pieces)
        parts = [*reader.feed(text), *(reader.finish() if last else ())]
        named = (replace(part, call_id=next(ids)) if isinstance(part, CallBegin) else part for part in parts)
        made.append(Choice(0, tuple(named), (number,), finish if last else None, calls=reader.calls))
    return made
