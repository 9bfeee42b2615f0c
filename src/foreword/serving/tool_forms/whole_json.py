"""Answers that are calls as a whole: a JSON object or a list of them, as Llama 3 and Mistral write them."""

from collections.abc import Collection
from typing import ClassVar

from foreword.serving.tool_forms.base import AnswerPart, CallShape, calls_in


class WholeJson:
    """Holds back the answer up to its end, when it is calls or text; see ToolForm."""

    shape: ClassVar[CallShape | None] = CallShape(
        before_name='{"name": "', before_arguments='", "arguments": ', after_arguments="}"
    )

    def __init__(self, names: Collection[str]):
        self._names = names
        self._held: list[str] = []

    @classmethod
    def claims(cls, beginning: str) -> bool:
        """An answer that begins as a JSON object or list does."""
        return beginning[0] in "{["

    def feed(self, text: str) -> list[AnswerPart]:
        """Nothing is certain before the end."""
        self._held.append(text)
        return []

    def finish(self) -> list[AnswerPart]:
        """The calls, or the text."""
        text = "".join(self._held)
        calls = calls_in(text, self._names)
        return [text] if calls is None else list(calls)
