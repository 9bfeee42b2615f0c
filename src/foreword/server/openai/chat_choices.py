"""What a choice says, thinks and which tools it calls, as chat completions have it."""

from typing import Any

from foreword.server.openai.formats import chosen, narrowed
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import Choice, UsableTools
from foreword.serving.tool_forms.base import CallBegin, CallText

Json = dict[str, Any]


def usable_tools(body: ChatBody) -> UsableTools:
    """The tools that the model may call."""
    functions = [tool.function for tool in body.tools or ()]
    usable = UsableTools(
        frozenset(function.name for function in functions),
        body.parallel_tool_calls is not False,
        strict=frozenset(function.name for function in functions if function.strict),
    )
    return narrowed(usable, *chosen(body.tool_choice))


def message(choice: Choice) -> Json:
    """The message of a whole choice."""
    text, thoughts, calls = choice.text, choice.thoughts, tool_calls(choice)
    content = text if text or not (calls or thoughts) else None
    said: Json = {"role": "assistant", "content": content, "refusal": None}
    if thoughts:
        said["reasoning_content"] = thoughts
    if calls:
        said["tool_calls"] = calls
    return said


def delta(choice: Choice, begins: bool) -> Json:
    """What is new of a choice; ``begins``: for the first time."""
    text, thoughts, calls = choice.text, choice.thoughts, tool_call_deltas(choice)
    new: Json = {"role": "assistant", "content": text} if begins else {"content": text} if text else {}
    if thoughts:
        new["reasoning_content"] = thoughts
    if calls:
        new["tool_calls"] = calls
    return new


def tool_calls(choice: Choice) -> list[Json]:
    """The calls of a whole choice."""
    return [
        {"id": use.call_id, "type": "function", "function": {"name": use.name, "arguments": use.arguments}}
        for use in choice.tool_uses
    ]


def tool_call_deltas(choice: Choice) -> list[Json]:
    """What is new of the calls of a choice, an entry for each call, numbered within all of its answer."""
    deltas: list[Json] = []
    number = choice.calls - sum(isinstance(part, CallBegin) for part in choice.parts) - 1
    for part in choice.parts:
        if isinstance(part, CallBegin):
            number += 1
            function = {"name": part.name, "arguments": ""}
            deltas.append({"index": number, "id": part.call_id, "type": "function", "function": function})
        elif isinstance(part, CallText):
            if not deltas or deltas[-1]["index"] != number:
                deltas.append({"index": number, "function": {"arguments": ""}})
            deltas[-1]["function"]["arguments"] += part.text
    return deltas


def finish_reason(choice: Choice) -> str | None:
    """Why it ended: ``tool_calls`` where it ended by itself and calls a tool."""
    return "tool_calls" if choice.finish_reason == "stop" and choice.calls else choice.finish_reason
