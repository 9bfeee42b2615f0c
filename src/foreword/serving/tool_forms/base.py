"""What a form of tool calls is, and the JSON that all forms of today have in common."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool that the model writes."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallShape:
    """The text of calls in a form, for a grammar that forces them:

        begin  call (separator call)*  end        call: before_name NAME before_arguments ARGUMENTS after_arguments

    with NAME as it is and ARGUMENTS a JSON object.

    special
        Those parts of the texts that are special tokens in tokenizers of the family; elsewhere they are plain text.
    """

    before_name: str
    before_arguments: str
    after_arguments: str
    begin: str = ""
    separator: str = ""
    end: str = ""
    special: tuple[str, ...] = ()


AnswerPart = str | ToolUse
"""Of an answer: text as it was written, or a call."""


class ToolForm(Protocol):
    """A reader of one answer in one form. Text that may yet turn out to be a call is held back.

    Only calls of tools whose names were offered count. All else is text, as it was written; blanks between and after calls
    are dropped.

    shape
        How a call is written, for a grammar; None where its arguments are not JSON.
    """

    shape: ClassVar[CallShape | None]

    def __init__(self, names: Collection[str]): ...

    @classmethod
    def claims(cls, beginning: str) -> bool:
        """Whether an answer is in this form, by its first characters, of which the first is no blank."""
        ...

    def feed(self, text: str) -> Sequence[AnswerPart]:
        """What is certain after the next text."""
        ...

    def finish(self) -> Sequence[AnswerPart]:
        """What was held back, at the end of the answer."""
        ...


def calls_in(text: str, names: Collection[str]) -> list[ToolUse] | None:
    """The calls that a text is, if it is nothing else: a JSON object with ``name`` and ``arguments``, or a list of them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = [_call(item, names) for item in (value if isinstance(value, list) else [value])]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def _call(value: Any, names: Collection[str]) -> ToolUse | None:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in names:
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return ToolUse(name, arguments) if isinstance(arguments, dict) else None
