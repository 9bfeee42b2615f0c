"""What a response puts out: messages and calls of tools, as items, and as the events of a stream."""

import json
from collections.abc import Iterator
from typing import Any

from foreword.server.openai.usage import token_logprobs
from foreword.serving.neutral import Choice
from foreword.serving.tool_forms.base import ToolUse

Json = dict[str, Any]
Event = tuple[str, Json]
"""Its type and its fields, all but the number."""


class Output:
    """The items of one response in the making: ``items`` are those that are done.

    Calls of tools become items of their own. Log-probabilities stand at the text that was told next; those
    that only a call follows are left out.
    """

    def __init__(self, request_id: str, top_logprobs: int):
        self.items: list[Json] = []
        self._request_id, self._top_logprobs = request_id, top_logprobs
        self._message: Json | None = None  # the one that is open
        self._untold: list[Json] = []  # log-probabilities of tokens that have not become text

    def feed(self, choice: Choice) -> list[Event]:
        """The events that a choice's new parts bring."""
        self._untold += token_logprobs(choice, self._top_logprobs)
        events: list[Event] = []
        for part in choice.parts:
            events += self._text(part) if isinstance(part, str) else self._call(part)
        return events

    def finish(self, status: str) -> list[Event]:
        """The last events; ``status`` is that of the last message. An answer without anything is an empty message."""
        empty = self._message is None and not self.items
        return [*(self._open() if empty else ()), *self._close(status)]

    def _text(self, text: str) -> Iterator[Event]:
        if self._message is None:
            yield from self._open()
        assert self._message is not None
        part, told = self._message["content"][0], self._told()
        part["text"] += text
        part["logprobs"] += told
        yield "response.output_text.delta", {**self._place(), "delta": text, "logprobs": told}

    def _call(self, use: ToolUse) -> Iterator[Event]:
        self._told()
        yield from self._close("completed")
        index, name = len(self.items), f"{self._request_id}_{len(self.items)}"
        arguments = json.dumps(use.arguments, ensure_ascii=False)
        begun = {"id": f"fc_{name}", "type": "function_call", "call_id": f"call_{name}", "name": use.name}
        item = {**begun, "arguments": arguments, "status": "completed"}
        place = {"item_id": item["id"], "output_index": index}
        added = {**begun, "arguments": "", "status": "in_progress"}
        yield "response.output_item.added", {"output_index": index, "item": added}
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}
        yield "response.function_call_arguments.done", {**place, "name": use.name, "arguments": arguments}
        yield "response.output_item.done", {"output_index": index, "item": item}
        self.items.append(item)

    def _open(self) -> Iterator[Event]:
        """A message begins."""
        index = len(self.items)
        name = f"msg_{self._request_id}_{index}" if index else f"msg_{self._request_id}"
        item: Json = {"id": name, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._message = {**item, "content": [{**part, "logprobs": []}]}
        yield "response.output_item.added", {"output_index": index, "item": item}
        yield "response.content_part.added", {**self._place(), "part": part}

    def _close(self, status: str) -> Iterator[Event]:
        """The open message, if there is one, is done."""
        if self._message is None:
            return
        item, part, place = self._message, self._message["content"][0], self._place()
        part["logprobs"] += self._told()
        item["status"] = status
        yield "response.output_text.done", {**place, "text": part["text"], "logprobs": part["logprobs"]}
        yield "response.content_part.done", {**place, "part": part}
        yield "response.output_item.done", {"output_index": len(self.items), "item": item}
        self.items.append(item)
        self._message = None

    def _place(self) -> Json:
        assert self._message is not None
        return {"item_id": self._message["id"], "output_index": len(self.items), "content_index": 0}

    def _told(self) -> list[Json]:
        told, self._untold = self._untold, []
        return told
