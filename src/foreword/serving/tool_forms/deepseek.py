"""Calls as DeepSeek's models write them: ``<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME``, then a fence of JSON (V3, R1);
``<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}`` (V3.1)."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.source import Reading, marks

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


class DeepSeek(LeadingJson):
    """Reads both forms, whichever comes."""

    name = "deepseek"
    begins = (CALLS, CALL)
    ends = (CALL_END, CALLS_END)
    special = (CALLS, CALL, SEPARATOR, CALL_END, CALLS_END)
    shape: ClassVar[CallShape | None] = CallShape(
        begin=CALLS,
        before_name=CALL,
        before_arguments=SEPARATOR,
        after_arguments=CALL_END,
        end=CALLS_END,
        special=special,
    )

    def behind(self, mark: str) -> Reading[bool]:
        """The call behind a mark; those behind it have marks of their own."""
        source, most = self.source, self.longest_name + 40
        if mark == CALLS:
            yield from source.blanks()
            if (yield from source.starts(CALL)) is None:
                return False
            source.take(len(CALL))
        name, _ = yield from source.short(marks(SEPARATOR), most)
        _, sign = yield from source.ahead()
        if sign not in tuple("{`"):
            name, _ = yield from source.short(marks("\n"), most)
        name = self.known(name)
        yield from self._fence()
        called = yield from CallJson(self).named_arguments(name)
        source.keep()
        if (yield from self._fence()):
            source.keep()
        return called

    def _fence(self) -> Reading[bool]:
        """Pass over a fence's beginning or end."""
        yield from self.source.blanks()
        fence = yield from self.source.starts("```json", "```")
        self.source.take(len(fence or ""))
        return fence is not None
