"""Text in, text and tool calls out, while a model writes."""

from collections.abc import Collection, Sequence

from foreword.serving.tool_forms.base import AnswerPart, ToolForm, ToolUse
from foreword.serving.tool_forms.json_in_tags import JsonInTags
from foreword.serving.tool_forms.whole_json import WholeJson

FORMS: tuple[type[ToolForm], ...] = (WholeJson, JsonInTags)
"""In the order in which they are asked whether an answer is theirs; the last one takes every answer."""


class ToolCallReader:
    """Reads one answer. Without names of tools all is text, at once; without ``parallel`` only the first call counts."""

    def __init__(self, names: Collection[str], parallel: bool = True):
        self._names, self._parallel = names, parallel
        self._blanks = ""  # the answer so far, while it is nothing else
        self._form: ToolForm | None = None
        self.calls = 0
        """Calls so far."""

    def feed(self, text: str) -> list[AnswerPart]:
        """What is certain after the next piece of the answer."""
        if not self._names:
            return [text] if text else []
        if self._form is None:
            text = self._blanks + text
            beginning = text.lstrip()
            if not beginning:
                self._blanks = text
                return []
            self._form = next(form for form in FORMS if form.claims(beginning))(self._names)
        return self._counted(self._form.feed(text))

    def finish(self) -> list[AnswerPart]:
        """What is left at the end of the answer."""
        if self._form is None:
            return [self._blanks] if self._blanks else []
        return self._counted(self._form.finish())

    def _counted(self, pieces: Sequence[AnswerPart]) -> list[AnswerPart]:
        kept: list[AnswerPart] = []
        for piece in pieces:
            if isinstance(piece, ToolUse):
                if self.calls and not self._parallel:
                    continue
                self.calls += 1
            kept.append(piece)
        return kept
