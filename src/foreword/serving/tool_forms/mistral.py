"""Calls as Mistral's models write them behind ``[TOOL_CALLS]``: a list in JSON, as they did first, or
``NAME[CALL_ID]ID[ARGS]{...}``, of which the id and ``[ARGS]`` may be missing. Their templates want ids of nine letters."""

import re
from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape
from foreword.serving.tool_forms.call_json import CallJson
from foreword.serving.tool_forms.hermes import LeadingJson
from foreword.serving.tool_forms.source import NoCall, Reading

CALLS, CALL_ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
_NAME = re.compile(r"[^\[{\s]+")
_ID = re.compile(r"[^\[{\s]+")
_RIGHT_ID = re.compile(r"[a-zA-Z0-9]{9}")


class Mistral(LeadingJson):
    """Reads both forms, whichever comes."""

    name = "mistral"
    begins = (CALLS,)
    special = (CALLS, CALL_ID, ARGS)
    shape: ClassVar[CallShape | None] = CallShape(
        before_name=CALLS, before_arguments=ARGS, after_arguments="", special=(CALLS, ARGS)
    )

    def behind(self, mark: str) -> Reading[bool]:
        """The calls behind a mark."""
        del mark
        yield from self.source.blanks()
        if (yield from self.source.sign()) in tuple("{[`"):
            return (yield from CallJson(self).calls())
        name = self.known((yield from self._word(_NAME, self.longest_name + 40)))
        call_id = None
        yield from self.source.blanks()
        if (yield from self.source.starts(CALL_ID)):
            self.source.take(len(CALL_ID))
            given = yield from self._word(_ID, 64)
            call_id = given if _RIGHT_ID.fullmatch(given) else None
        if (yield from self.source.starts(ARGS)):
            self.source.take(len(ARGS))
        return (yield from CallJson(self).named_arguments(name, call_id))

    def _word(self, pattern: re.Pattern[str], most: int) -> Reading[str]:
        word = ""
        while (yield from self.source.more()) and (run := self.source.run(pattern)):
            word += run
            if len(word) > most:
                raise NoCall
        return word


class MistralJson(Mistral):
    """The same, for templates that write a list in JSON."""

    name = "mistral-json"
    shape: ClassVar[CallShape | None] = CallShape(
        begin=CALLS + " [",
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        separator=", ",
        end="]",
        special=(CALLS,),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that write no name before the arguments."""
        return CALLS in template and ARGS not in template
