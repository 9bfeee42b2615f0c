"""Answers as gpt-oss writes them: messages in channels, each with a head and an end.

    <|channel|>analysis<|message|>thought<|end|>
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>

What stands in ``final``, and in ``commentary`` without a recipient, is text; ``analysis`` is thought.
"""

import re
from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ToolForm
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.source import NoCall, Reading, marks

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
MESSAGE_ENDS = ("<|end|>", "<|return|>", "<|call|>")
MOST_HEAD = 400
_RECIPIENT = re.compile(r"to=functions\.([^\s<]+)")


class Harmony(ToolForm):
    """Reads messages; an answer that has none is text."""

    name = "gpt-oss"
    begins = (START, CHANNEL)
    ends = MESSAGE_ENDS
    special = (START, CHANNEL, MESSAGE, CONSTRAIN, *MESSAGE_ENDS)
    thinks = True
    shape: ClassVar[CallShape | None] = CallShape(
        before_name=CHANNEL + "commentary to=functions.",
        before_arguments=" " + CONSTRAIN + "json" + MESSAGE,
        after_arguments="<|call|>",
        special=(CHANNEL, CONSTRAIN, MESSAGE, "<|call|>"),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that write channels and messages."""
        return CHANNEL in template and MESSAGE in template

    def read(self) -> Reading[None]:
        """Read one message after another."""
        opening, ends = marks(START, CHANNEL, *MESSAGE_ENDS), marks(START, *MESSAGE_ENDS)
        mark = yield from self.source.to_mark(opening, self.parts.text)
        while mark is not None:
            if mark in MESSAGE_ENDS:
                mark = yield from self.source.to_mark(opening, self.parts.text)
                continue
            start = self.source.position - len(mark)
            head = yield from self._head(mark)
            recipient = _RECIPIENT.search(head)
            called = recipient is not None and (yield from self.attempt(self._call(recipient[1])))
            self.source.let_go()
            if _channel(head) == "analysis" and not called:
                self.parts.thinks_from(start)
                mark = yield from self.source.to_mark(ends, self.parts.thought)
                self.parts.thinks_to(self.source.position - len(mark if mark == START else ""))
            else:
                mark = yield from self.source.to_mark(ends, self.parts.text)

    def _head(self, mark: str) -> Reading[str]:
        """A message's head, kept; one without an end is text."""
        self.source.keep(mark)
        try:
            head, _ = yield from self.source.short(marks(MESSAGE), MOST_HEAD)
        except NoCall:
            self.parts.text(self.source.let_go())
            return ""
        return mark + head

    def _call(self, name: str) -> Reading[bool]:
        return (yield from CallJson(self).named_arguments(self.known(name)))


def _channel(head: str) -> str:
    """The channel that a message's head names."""
    return next(iter(head.partition(CHANNEL)[2].replace("<", " ").split()), "")
