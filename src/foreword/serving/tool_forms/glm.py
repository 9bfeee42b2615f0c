"""Calls as GLM 4.5 and later write: ``<tool_call>NAME<arg_key>KEY</arg_key><arg_value>value</arg_value></tool_call>``."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ParameterShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.json_text import MOST_NAME
from foreword.serving.tool_forms.parameters import Parameters
from foreword.serving.tool_forms.source import NoCall, Reading, marks

CALL, CALL_END = "<tool_call>", "</tool_call>"
KEY, KEY_END, VALUE, VALUE_END = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"


class Glm(LeadingJson):
    """Reads names with pairs of keys and values; JSON in the tag too."""

    name = "glm"
    begins = (CALL,)
    ends = (CALL_END,)
    special = (CALL, CALL_END, KEY, KEY_END, VALUE, VALUE_END)
    shape: ClassVar[CallShape | None] = CallShape(
        before_name=CALL,
        before_arguments="\n",
        after_arguments=CALL_END,
        separator="\n",
        special=special,
        parameters=ParameterShape(KEY, f"{KEY_END}\n{VALUE}", f"{VALUE_END}\n"),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that write keys and values as tags."""
        return KEY in template

    def behind(self, mark: str) -> Reading[bool]:
        """The call behind a mark."""
        del mark
        yield from self.source.blanks()
        if (yield from self.source.sign()) in tuple("{[`"):
            return (yield from CallJson(self).calls())
        name = ""
        while (sign := (yield from self.source.sign())) not in ("", "<", "\n"):
            name += self.source.take(len(sign))
            if len(name) > self.longest_name + 40:
                raise NoCall
        yield from self.source.blanks()
        if (yield from self.source.starts(KEY, CALL_END)) is None:
            return False
        return (yield from self._pairs(self.known(name)))

    def _pairs(self, name: str) -> Reading[bool]:
        self.source.let_go()
        self.parts.begin(name)
        told = Parameters(self, name, VALUE_END, (KEY, CALL_END))
        whole = True
        while whole:
            yield from self.source.blanks()
            if (yield from self.source.starts(KEY)) is None:
                break
            self.source.take(len(KEY))
            try:
                key, _ = yield from self.source.short(marks(KEY_END), MOST_NAME)
                between, _ = yield from self.source.short(marks(VALUE), 100)
            except NoCall:
                whole = False
                break
            whole = not between.strip() and (yield from told.value(key.strip()))
        told.finish()
        self.parts.end(whole)
        return True
