"""Calls as Phi-4-mini writes them: a list in JSON behind ``<|tool_call|>`` or ``functools``."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.source import Reading


class Phi(LeadingJson):
    """Reads the lists behind the marks."""

    name = "phi"
    begins = ("<|tool_call|>", "<|tool_calls|>", "functools[")
    ends = ("<|/tool_call|>", "<|/tool_calls|>")
    special = ("<|tool_call|>", "<|/tool_call|>", "<|tool_calls|>", "<|/tool_calls|>")
    shape: ClassVar[CallShape | None] = CallShape(
        begin="<|tool_call|>[",
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        separator=", ",
        end="]<|/tool_call|>",
        special=("<|tool_call|>", "<|/tool_call|>"),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Phi's templates write the tools between ``<|tool|>`` and ``<|/tool|>``."""
        return "<|/tool|>" in template or super().is_of(template)

    def behind(self, mark: str) -> Reading[bool]:
        """The calls behind a mark."""
        del mark
        return (yield from CallJson(self).calls())
