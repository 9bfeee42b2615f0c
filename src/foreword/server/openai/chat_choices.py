"""What a choice says and which tools it calls, as chat completions have it."""

import json
from typing import Any

from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import Choice, UsableTools

Json = dict[str, Any]


def usable_tools(body: ChatBody) -> UsableTools:
    """The tools that the model may call."""
    names = () if body.tool_choice == "none" else (tool.function.name for tool in body.tools or ())
    return UsableTools(frozenset(names), body.parallel_tool_calls is not False)


def tool_calls(request_id: str, choice: Choice) -> list[Json]:
    """The calls that a choice brings, numbered within all of its answer."""
    calls, made = [], choice.tool_uses
    for number, use in enumerate(made, start=choice.calls - len(made)):
        call_id = f"call_{request_id.rpartition('-')[2]}_{choice.index}_{number}"
        function = {"name": use.name, "arguments": json.dumps(use.arguments, ensure_ascii=False)}
        calls.append({"index": number, "id": call_id, "type": "function", "function": function})
    return calls


def finish_reason(choice: Choice) -> str | None:
    """Why it ended: ``tool_calls`` where it ended by itself and calls a tool."""
    return "tool_calls" if choice.finish_reason == "stop" and choice.calls else choice.finish_reason
