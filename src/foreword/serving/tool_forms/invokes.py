"""Calls in tags with attributes, as two families write them: ``invoke`` by name, within it each ``parameter`` by name.

<CALLS><invoke name="NAME"><parameter name="KEY">value</parameter></invoke></CALLS>
"""

from typing import ClassVar

from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.json_text import MOST_NAME
from foreword.serving.tool_forms.parameters import STRING, Parameters
from foreword.serving.tool_forms.source import NoCall, Reading, marks

CLOSES, NO_STRING = '">', '" string="false">'
IS_STRING = '" string="true">'


class Invokes(LeadingJson):
    """Reads invokes, within their outer tag or without it; a form gives the tags.

    calls, invoke, parameter
        The beginnings of the outer tags, and of the inner ones up to their names.
    calls_end, invoke_end, parameter_end
        Their ends.
    """

    calls: ClassVar[tuple[str, ...]]
    calls_end: ClassVar[tuple[str, ...]]
    invoke: ClassVar[str]
    invoke_end: ClassVar[str]
    parameter: ClassVar[str]
    parameter_end: ClassVar[str]

    def behind(self, mark: str) -> Reading[bool]:
        """The call behind a mark; those behind it have marks of their own."""
        if mark in self.calls:
            yield from self.source.blanks()
            if (yield from self.source.sign()) in tuple("{["):
                return (yield from CallJson(self).calls())
            if (yield from self.source.starts(self.invoke)) is None:
                return False
            self.source.take(len(self.invoke))
        name, _ = yield from self.source.short(marks(CLOSES), self.longest_name + 40)
        return (yield from self._parameters(self.known(name)))

    def _parameters(self, name: str) -> Reading[bool]:
        self.source.let_go()
        self.parts.begin(name)
        told = Parameters(self, name, self.parameter_end, (self.parameter, self.invoke_end))
        whole = True
        while whole:
            yield from self.source.blanks()
            if (yield from self.source.starts(self.parameter)) is None:
                break
            self.source.take(len(self.parameter))
            try:
                key, mark = yield from self.source.short(marks(CLOSES, IS_STRING, NO_STRING), MOST_NAME)
            except NoCall:
                whole = False
                break
            whole = yield from told.value(key, STRING if mark == IS_STRING else None)
        told.finish()
        self.parts.end(whole)
        return True
