"""Calls as Llama 3 and 4 write them: JSON with ``parameters``, several with ``;`` between them; behind ``<|python_tag|>``
the same or Python (``brave_search.call(query="...")``); lists of calls in Python; ``<function=NAME>{...}</function>``."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.python_calls import python_calls
from foreword.serving.tool_forms.source import Reading, marks

PYTHON_TAG, FUNCTION, FUNCTION_END = "<|python_tag|>", "<function=", "</function>"


class Llama(LeadingJson):
    """Reads an answer that begins with calls, and calls behind the marks."""

    name = "llama"
    begins = (PYTHON_TAG, FUNCTION)
    ends = (FUNCTION_END, "<|eom_id|>")
    special = (PYTHON_TAG, "<|eom_id|>")
    shape: ClassVar[CallShape | None] = CallShape(
        before_name='{"name": "', before_arguments='", "parameters": ', after_arguments="}", separator="; "
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Llama's templates write calls as JSON with ``parameters``."""
        return PYTHON_TAG in template or ('"parameters": ' in template and "<|start_header_id|>" in template)

    def leading_calls(self) -> Reading[bool]:
        """JSON, or a list of calls in Python."""
        self.source.keep()
        before, sign = yield from self.source.ahead()
        if sign != "[":
            return (yield from super().leading_calls())
        blanks, sign = yield from self.source.ahead(behind=len(before) + 1)
        if not (sign.isalpha() or sign == "_"):
            return (yield from super().leading_calls())
        self.source.take(len(before) + 1 + len(blanks))
        return (yield from python_calls(self, "]"))

    def behind(self, mark: str) -> Reading[bool]:
        """The calls behind a mark."""
        if mark == FUNCTION:
            name, _ = yield from self.source.short(marks(">"), self.longest_name + 40)
            return (yield from CallJson(self).named_arguments(self.known(name)))
        yield from self.source.blanks()
        if (yield from self.source.sign()) in tuple("{[`"):
            return (yield from CallJson(self).calls())
        return (yield from python_calls(self))
