"""Calls as DeepSeek V3.2 and V4 write them: ``<｜DSML｜invoke name="NAME">``, whose parameters say whether they are
strings, within ``<｜DSML｜function_calls>`` (V3.2) or ``<｜DSML｜tool_calls>`` (V4)."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ParameterShape
from foreword.serving.tool_forms.invokes import CLOSES, IS_STRING, NO_STRING, Invokes

MARK = "｜DSML｜"


class DeepSeekTags(Invokes):
    """Reads its tags; a value is a string where the tag says so, else JSON."""

    name = "deepseek-tags"
    calls = (f"<{MARK}function_calls>", f"<{MARK}tool_calls>")
    calls_end = (f"</{MARK}function_calls>", f"</{MARK}tool_calls>")
    invoke, invoke_end = f'<{MARK}invoke name="', f"</{MARK}invoke>"
    parameter, parameter_end = f'<{MARK}parameter name="', f"</{MARK}parameter>"
    begins = (*calls, invoke)
    ends = (invoke_end, *calls_end)
    special = (MARK,)
    shape: ClassVar[CallShape | None] = CallShape(
        begin=f"{calls[0]}\n",
        before_name=invoke,
        before_arguments=f"{CLOSES}\n",
        after_arguments=f"{invoke_end}\n",
        end=calls_end[0],
        special=special,
        parameters=ParameterShape(parameter, IS_STRING, f"{parameter_end}\n", NO_STRING),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that hold the mark of its tags."""
        return MARK in template
