"""Calls as Qwen3-Coder and others write them, each parameter in a tag of its own, as it is.

<tool_call><function=NAME><parameter=KEY>value</parameter></function></tool_call>
"""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ParameterShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.json_text import MOST_NAME
from foreword.serving.tool_forms.parameters import Parameters
from foreword.serving.tool_forms.source import NoCall, Reading, marks

CALL, CALL_END = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"


class QwenXml(LeadingJson):
    """Reads functions with parameters, with the outer tag or without it; JSON in the tag too."""

    name = "qwen-xml"
    begins = (CALL, FUNCTION)
    ends = (CALL_END, FUNCTION_END)
    special = (CALL, CALL_END)
    shape: ClassVar[CallShape | None] = CallShape(
        before_name=f"{CALL}\n{FUNCTION}",
        before_arguments=">\n",
        after_arguments=f"{FUNCTION_END}\n{CALL_END}",
        separator="\n",
        special=special,
        parameters=ParameterShape(PARAMETER, ">\n", f"\n{PARAMETER_END}\n"),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that write functions and parameters as tags."""
        return FUNCTION in template and PARAMETER in template

    def behind(self, mark: str) -> Reading[bool]:
        """The call behind a mark."""
        if mark == CALL:
            yield from self.source.blanks()
            if (yield from self.source.sign()) in tuple("{[`"):
                return (yield from CallJson(self).calls())
            if (yield from self.source.starts(FUNCTION)) is None:
                return False
            self.source.take(len(FUNCTION))
        name, _ = yield from self.source.short(marks(">"), self.longest_name + 40)
        return (yield from self._function(self.known(name)))

    def _function(self, name: str) -> Reading[bool]:
        self.source.let_go()
        self.parts.begin(name)
        told = Parameters(self, name, PARAMETER_END, (PARAMETER, FUNCTION_END, CALL_END))
        whole = True
        while whole:
            yield from self.source.blanks()
            if (yield from self.source.starts(PARAMETER)) is None:
                break
            self.source.take(len(PARAMETER))
            try:
                key, _ = yield from self.source.short(marks(">"), MOST_NAME)
            except NoCall:
                whole = False
                break
            whole = yield from told.value(key.strip().strip("\"'"))
        told.finish()
        self.parts.end(whole)
        return True
