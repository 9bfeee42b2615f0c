"""The form in which tools, calls and what they gave are written for a chat template that knows none.

It is the most common one, read from answers like any other: JSON within ``<tools>``, ``<tool_call>`` and
``<tool_response>``. The tools stand before the system text: they change more seldom.
"""

import json
from collections.abc import Iterator, Sequence

from foreword.prompt.chat import Tool, ToolCall

HEAD = "# Tools\n\nYou can call these functions, one a line, with the JSON schema of their arguments:\n<tools>"
TAIL = (
    "</tools>\n\nTo call one, write its name and arguments as JSON within <tool_call></tool_call>, each call on its own:\n"
    '<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>\nWhat a call gives comes within <tool_response>.'
)
RESULT_OPEN, RESULT_CLOSE = "<tool_response>\n", "\n</tool_response>"


def told_tools(tools: Sequence[Tool]) -> Iterator[tuple[str, int]]:
    """Texts that tell a model of its tools, to be written one below the other; with each the tool that it counts to."""
    yield HEAD, 0
    for number, tool in enumerate(tools):
        yield json.dumps(tool, ensure_ascii=False), number
    yield TAIL, len(tools) - 1


def told_call(call: ToolCall) -> str:
    """A call as the model is to write it."""
    arguments = call.opened().arguments
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {arguments}}}\n</tool_call>'
