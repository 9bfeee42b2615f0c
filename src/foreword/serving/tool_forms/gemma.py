"""Calls as Gemma's models write them: ``call:NAME{key:<escape>text<escape>,n:5}`` behind ``<start_function_call>``
(FunctionGemma), the same with other marks (Gemma 4), or Python in a fence of ``tool_code`` (Gemma 3)."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.json_text import Syntax
from foreword.serving.tool_forms.python_calls import python_calls
from foreword.serving.tool_forms.source import Reading, marks

CODE, FENCE = "```tool_code", "```"
ESCAPE, QUOTE = "<escape>", '<|"|>'
SYNTAX = Syntax(raw_quotes={ESCAPE: ESCAPE, QUOTE: QUOTE}, ends=("<end_function_call>", "<tool_call|>"))


class Gemma(LeadingJson):
    """Reads all three."""

    name = "gemma"
    begins = ("<start_function_call>", "<|tool_call>", CODE)
    ends = ("<end_function_call>", "<tool_call|>", FENCE)
    special = ("<start_function_call>", "<end_function_call>", "<|tool_call>", "<tool_call|>", ESCAPE, QUOTE)
    shape: ClassVar[CallShape | None] = CallShape(
        before_name='{"name": "', before_arguments='", "arguments": ', after_arguments="}", separator="\n"
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Gemma's templates write turns of their own kind, whether they know of tools or not."""
        return super().is_of(template) or "<start_of_turn>" in template or "<|turn>" in template

    def leading_calls(self) -> Reading[bool]:
        """JSON; a fence of Python is no JSON."""
        blanks, _ = yield from self.source.ahead()
        if (yield from self.source.starts(CODE, behind=len(blanks))):
            return False
        return (yield from super().leading_calls())

    def behind(self, mark: str) -> Reading[bool]:
        """The calls behind a mark."""
        if mark == CODE:
            return (yield from python_calls(self))
        yield from self.source.blanks()
        if (yield from self.source.sign()) in tuple("{["):
            return (yield from CallJson(self).calls())
        text, _ = yield from self.source.short(marks(":", " "), 20)
        if text.strip() != "call":
            return False
        blanks, _ = yield from self.source.ahead()
        self.source.take(len(blanks))
        name = yield from self._name()
        return (yield from CallJson(self, syntax=SYNTAX).named_arguments(name))

    def _name(self) -> Reading[str]:
        """The name up to the bracket, which stays."""
        name = ""
        while (yield from self.source.sign()) not in ("", "{") and len(name) < self.longest_name + 40:
            name += self.source.take(1)
        return self.known(name)
