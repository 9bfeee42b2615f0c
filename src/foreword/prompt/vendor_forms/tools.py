"""Tools and calls of tools, in the forms of OpenAI's chat and responses APIs and of Anthropic's messages API.

chat        {"type": "function", "function": {"name", "description", "parameters"}}
responses   {"type": "function", "name", "description", "parameters"}
Anthropic   {"name", "description", "input_schema"}
"""

from collections.abc import Mapping
from typing import Any

from foreword.prompt.chat import Tool, ToolCall

NO_PARAMETERS = {"type": "object", "properties": {}}


def as_function(tool: Mapping[str, Any]) -> Tool:
    """A tool in any of the forms as a function, for the chat API and for chat templates; a function stays as it is."""
    if "function" in tool:
        return tool
    if "input_schema" in tool:  # Anthropic's: an empty description is as good as none
        described = {"description": tool["description"]} if tool.get("description") else {}
        function = {"name": tool.get("name"), **described, "parameters": tool["input_schema"]}
    else:
        function = {key: tool[key] for key in ("name", "description", "parameters", "strict") if key in tool}
    return {"type": "function", "function": function}


def as_responses_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in the flat form of the responses API; ``strict`` is off, as in the chat API, unless the tool says so."""
    return {"type": "function", "strict": False, **as_function(tool)["function"]}


def as_anthropic_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool with its input schema; one that is no function is taken for Anthropic's own."""
    function = tool.get("function")
    if function is None:
        return dict(tool)
    schema = function.get("parameters") or NO_PARAMETERS
    return {"name": function["name"], "description": function.get("description", ""), "input_schema": schema}


def read_call(call: Any) -> ToolCall:
    """A call in the chat API's form, as an item of the responses API, or as Anthropic's ``tool_use``; arguments as sent."""
    given = call if isinstance(call, Mapping) else {}
    inner = given.get("function")
    function = inner if isinstance(inner, Mapping) else given
    arguments = function.get("arguments", function.get("input"))
    call_id = given.get("call_id", given.get("id"))
    return ToolCall(str(call_id or ""), str(function.get("name") or ""), {} if arguments in (None, "") else arguments)


def write_call(call: ToolCall) -> dict[str, Any]:
    """A call in the chat API's form, which is that of chat templates."""
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
