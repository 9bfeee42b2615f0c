"""Calls as JSON between ``<tool_call>`` and ``</tool_call>``, as Hermes, Qwen 2.5 and 3 and many others write them.

It is the form of models whose chat template says nothing else. Models also write a call as the whole answer, in a fence, or
behind a mark that they know from elsewhere.
"""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ToolForm
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.source import Reading

OTHER_MARKS = ("[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>", "<|tool_calls|>", "functools")


class LeadingJson(ToolForm):
    """A form in which an answer may also begin with calls in JSON and nothing around them, or hold them in a fence."""

    fences = ("```json\n", "```tool_call\n")

    def leading_calls(self) -> Reading[bool]:
        """Calls with which the answer begins: JSON, in a fence or not."""
        self.source.keep()
        blanks, _ = yield from self.source.ahead()
        self.source.take(len(blanks))
        mark = yield from self.source.starts(*OTHER_MARKS)
        if mark is not None and mark not in self.begins:
            self.source.take(len(mark))
        elif mark is not None:
            return False
        blanks, sign = yield from self.source.ahead()
        if sign not in tuple("{[`"):
            return False
        return (yield from CallJson(self, lenient=False).calls())

    def fenced_calls(self) -> Reading[bool]:
        """Calls in a fence: with arguments, for JSON in a fence is often no more than an example."""
        return (yield from CallJson(self, lenient=False, needs_arguments=True).calls())


class Hermes(LeadingJson):
    """Reads JSON in tags; the last tag may be left open."""

    name = "hermes"
    begins = ("<tool_call>",)
    ends = ("</tool_call>",)
    special = (*begins, *ends)
    shape: ClassVar[CallShape | None] = CallShape(
        before_name='<tool_call>\n{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}\n</tool_call>",
        separator="\n",
        special=special,
    )

    def behind(self, mark: str) -> Reading[bool]:
        """The calls in a tag."""
        del mark
        return (yield from CallJson(self).calls())
