"""Calls as JSON between ``<tool_call>`` and ``</tool_call>``, as Hermes, Qwen and many others write them."""

from collections.abc import Collection
from typing import ClassVar

from foreword.serving.tool_forms.base import AnswerPart, CallShape, calls_in

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class JsonInTags:
    """Reads text with calls in tags; see ToolForm. The last tag may be left open."""

    shape: ClassVar[CallShape | None] = CallShape(
        before_name='<tool_call>\n{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}\n</tool_call>",
        separator="\n",
        special=(OPEN, CLOSE),
    )

    def __init__(self, names: Collection[str]):
        self._names = names
        self._held = ""
        self._in_tag = False  # what is held stands behind OPEN
        self._blanks = ""  # before that OPEN
        self._called = False

    @classmethod
    def claims(cls, beginning: str) -> bool:
        """Every answer may have tags in it."""
        del beginning
        return True

    def feed(self, text: str) -> list[AnswerPart]:
        """What is certain after the next text."""
        self._held += text
        out: list[AnswerPart] = []
        while True:
            tag = CLOSE if self._in_tag else OPEN
            before, found, rest = self._held.partition(tag)
            if not found:
                break
            self._held = rest
            out += self._inside(before) if self._in_tag else self._text_before_tag(before)
        if not self._in_tag:
            out.append(self._certain_text())
        return [piece for piece in out if piece]

    def finish(self) -> list[AnswerPart]:
        """What was held back, at the end of the answer."""
        held, self._held = self._held, ""
        if self._in_tag:
            calls = calls_in(held, self._names)
            return list(calls) if calls is not None else [self._blanks + OPEN + held]
        return [held] if held and not (self._called and not held.strip()) else []

    def _text_before_tag(self, text: str) -> list[AnswerPart]:
        certain = text.rstrip()
        self._in_tag, self._blanks = True, text[len(certain) :]
        return [certain]

    def _inside(self, text: str) -> list[AnswerPart]:
        """The calls in a tag that is complete."""
        self._in_tag = False
        calls = calls_in(text, self._names)
        if calls is None:
            return [self._blanks + OPEN + text + CLOSE]
        self._called = True
        return list(calls)

    def _certain_text(self) -> str:
        """All that is held but what may be the beginning of a tag, and the blanks before it."""
        text = self._held
        kept = next((size for size in range(len(OPEN) - 1, 0, -1) if text.endswith(OPEN[:size])), 0)
        certain = text[: len(text) - kept].rstrip()
        self._held = text[len(certain) :]
        return certain
