"""Calls as MiniMax M2 writes them: ``<invoke name="NAME"><parameter name="KEY">value</parameter></invoke>`` within
``<minimax:tool_call>``."""

from typing import ClassVar

from foreword.serving.tool_forms.base import CallShape, ParameterShape
from foreword.serving.tool_forms.invokes import CLOSES, Invokes

CALLS, CALLS_END = "<minimax:tool_call>", "</minimax:tool_call>"


class MiniMax(Invokes):
    """Reads its tags; values are what the tool's schema says."""

    name = "minimax"
    calls, calls_end = (CALLS,), (CALLS_END,)
    invoke, invoke_end = '<invoke name="', "</invoke>"
    parameter, parameter_end = '<parameter name="', "</parameter>"
    begins = (CALLS, invoke)
    ends = (invoke_end, CALLS_END)
    special = (CALLS, CALLS_END)
    shape: ClassVar[CallShape | None] = CallShape(
        begin=f"{CALLS}\n",
        before_name=invoke,
        before_arguments=f"{CLOSES}\n",
        after_arguments=f"{invoke_end}\n",
        end=CALLS_END,
        special=special,
        parameters=ParameterShape(parameter, CLOSES, f"{parameter_end}\n"),
    )

    @classmethod
    def is_of(cls, template: str) -> bool:
        """Templates that name the outer tag, however they put it together."""
        return "minimax:tool_call" in template
