"""Calls as Kimi K2 writes them: ``<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}``.

The model's own id is kept, for it reads its history by it.
"""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.source import Reading, marks

CALLS, CALLS_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


class Kimi(LeadingJson):
    """Reads the calls of a section, each behind its mark."""

    name = "kimi"
    begins = (CALLS, CALL)
    ends = (CALL_END, CALLS_END)
    special = (CALLS, CALL, ARGUMENTS, CALL_END, CALLS_END)
    shape: ClassVar[CallShape | None] = CallShape(
        begin=CALLS,
        before_name=CALL + "functions.",
        before_arguments=":0" + ARGUMENTS,
        after_arguments=CALL_END,
        end=CALLS_END,
        special=special,
    )

    def behind(self, mark: str) -> Reading[bool]:
        """The call behind a mark."""
        if mark == CALLS:
            yield from self.source.blanks()
            if (yield from self.source.starts(CALL)) is None:
                return False
            self.source.take(len(CALL))
        call_id, _ = yield from self.source.short(marks(ARGUMENTS), self.longest_name + 60)
        call_id = call_id.strip()
        name, _, number = call_id.rpartition(":")
        name = self.known(name if number.isdecimal() else call_id)
        return (yield from CallJson(self).named_arguments(name, call_id))
