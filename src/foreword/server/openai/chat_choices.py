"""What a choice says and which tools it calls, as chat completions have it."""

import json
from collections.abc import Collection
from typing import Any

from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import Choice
from foreword.serving.tool_calls import Call, ToolCallReader

Json = dict[str, Any]


def offered(body: ChatBody) -> frozenset[str]:
    """Names of the tools that the model may call."""
    return frozenset() if body.tool_choice == "none" else frozenset(tool.function.name for tool in body.tools or ())


class ChoiceReader:
    """Reads one choice, whole or piece by piece."""

    def __init__(self, request_id: str, names: Collection[str], parallel: bool = True):
        self._request_id = request_id
        self._reader = ToolCallReader(names, parallel)
        self._calls = 0

    def feed(self, choice: Choice) -> tuple[str, list[Json]]:
        """The text and the calls that the next piece brings; at the choice's end also what was held back."""
        pieces = self._reader.feed(choice.text)
        if choice.finish_reason is not None:
            pieces += self._reader.finish()
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        return text, [self._tool_call(choice, piece) for piece in pieces if isinstance(piece, Call)]

    def finish_reason(self, choice: Choice) -> str | None:
        """Why it ended: ``tool_calls`` where it ended by itself and calls a tool."""
        return "tool_calls" if choice.finish_reason == "stop" and self._calls else choice.finish_reason

    def _tool_call(self, choice: Choice, call: Call) -> Json:
        call_id = f"call_{self._request_id.rpartition('-')[2]}_{choice.index}_{self._calls}"
        self._calls += 1
        function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        return {"index": self._calls - 1, "id": call_id, "type": "function", "function": function}
