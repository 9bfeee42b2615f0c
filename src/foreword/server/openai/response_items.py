"""What a response puts out: thoughts, messages and calls of tools, as items, and as the events of a stream."""

from collections.abc import Iterator, Mapping
from typing import Any

from foreword.prompt.vendor_forms.reasoning import write_encrypted
from foreword.server.openai.usage import token_logprobs
from foreword.serving.neutral import Choice, Namespaced
from foreword.serving.tool_forms.base import AnswerPart, CallBegin, CallEnd, CallText, Thought

Json = dict[str, Any]
Event = tuple[str, Json]
"""Its type and its fields, all but the number."""


class Output:
    """The items of one response in the making: ``items`` are those that are done.

    Thoughts and calls of tools become items of their own. Log-probabilities stand at the text that was told next; those
    that only a thought or a call follows are left out.

    namespaces
        Of the tools, as the prompt names them, those that belong to a namespace.
    encrypted
        Whether thoughts are told in a form, too, in which clients that keep nothing else send them back.
    """

    def __init__(
        self, request_id: str, top_logprobs: int, namespaces: Mapping[str, Namespaced] | None = None, encrypted: bool = False
    ):
        self.items: list[Json] = []
        self._request_id, self._top_logprobs = request_id, top_logprobs
        self._namespaces, self._encrypted = namespaces or {}, encrypted
        self._item: Json | None = None  # the one that is open
        self._untold: list[Json] = []  # log-probabilities of tokens that have not become text

    def feed(self, choice: Choice) -> list[Event]:
        """The events that a choice's new parts bring."""
        self._untold += token_logprobs(choice, self._top_logprobs)
        return [event for part in choice.parts for event in self._part(part)]

    def finish(self, status: str) -> list[Event]:
        """The last events; ``status`` is that of the last item. An answer without anything is an empty message."""
        empty = self._item is None and not self.items
        return [*(self._open_message() if empty else ()), *self._close(status)]

    def _part(self, part: AnswerPart) -> Iterator[Event]:
        if isinstance(part, CallBegin):
            yield from self._open_call(part)
        elif isinstance(part, CallText):
            yield from self._arguments(part.text)
        elif isinstance(part, CallEnd):
            yield from self._close("completed" if part.whole else "incomplete")
        elif isinstance(part, Thought):
            yield from self._thought(part.text)
        else:
            yield from self._text(part)

    def _text(self, text: str) -> Iterator[Event]:
        if not self._is_open("message"):
            yield from self._open_message()
        assert self._item is not None
        part, told = self._item["content"][0], self._told()
        part["text"] += text
        part["logprobs"] += told
        yield "response.output_text.delta", {**self._place(), "content_index": 0, "delta": text, "logprobs": told}

    def _thought(self, text: str) -> Iterator[Event]:
        self._told()
        if not self._is_open("reasoning"):
            yield from self._open({"id": f"rs_{self._name()}", "type": "reasoning", "summary": [], "content": []})
            assert self._item is not None
            part: Json = {"type": "reasoning_text", "text": ""}
            self._item["content"] = [dict(part)]
            yield "response.content_part.added", {**self._place(), "content_index": 0, "part": part}
        assert self._item is not None
        self._item["content"][0]["text"] += text
        yield "response.reasoning_text.delta", {**self._place(), "content_index": 0, "delta": text}

    def _open_message(self) -> Iterator[Event]:
        name = f"msg_{self._name()}" if self.items or self._item else f"msg_{self._request_id}"
        yield from self._open({"id": name, "type": "message", "role": "assistant", "content": []})
        assert self._item is not None
        part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._item["content"] = [{**part, "logprobs": []}]
        yield "response.content_part.added", {**self._place(), "content_index": 0, "part": part}

    def _open_call(self, call: CallBegin) -> Iterator[Event]:
        self._told()
        tool = self._namespaces.get(call.name)
        named = {"name": call.name} if tool is None else {"name": tool.name, "namespace": tool.namespace}
        head = {"id": f"fc_{self._name()}", "type": "function_call", "call_id": call.call_id, **named}
        yield from self._open({**head, "arguments": ""})

    def _arguments(self, text: str) -> Iterator[Event]:
        if self._item is None:
            return
        self._item["arguments"] += text
        yield "response.function_call_arguments.delta", {**self._place(), "delta": text}

    def _open(self, item: Json) -> Iterator[Event]:
        """An item begins; the one before is done."""
        yield from self._close("completed")
        self._item = {**item, "status": "in_progress"}
        yield "response.output_item.added", {"output_index": len(self.items), "item": dict(self._item)}

    def _close(self, status: str) -> Iterator[Event]:
        """The open item, if there is one, is done."""
        if self._item is None:
            return
        item = self._item
        item["status"] = status
        yield from {"message": self._message_done, "reasoning": self._thought_done}.get(item["type"], self._call_done)(item)
        yield "response.output_item.done", {"output_index": len(self.items), "item": item}
        self.items.append(item)
        self._item = None

    def _message_done(self, item: Json) -> Iterator[Event]:
        part, place = item["content"][0], {**self._place(), "content_index": 0}
        part["logprobs"] += self._told()
        yield "response.output_text.done", {**place, "text": part["text"], "logprobs": part["logprobs"]}
        yield "response.content_part.done", {**place, "part": part}

    def _thought_done(self, item: Json) -> Iterator[Event]:
        part, place = item["content"][0], {**self._place(), "content_index": 0}
        if self._encrypted:
            item["encrypted_content"] = write_encrypted(part["text"])
        yield "response.reasoning_text.done", {**place, "text": part["text"]}
        yield "response.content_part.done", {**place, "part": part}

    def _call_done(self, item: Json) -> Iterator[Event]:
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield "response.function_call_arguments.done", {**self._place(), **done}

    def _is_open(self, kind: str) -> bool:
        return self._item is not None and self._item["type"] == kind

    def _name(self) -> str:
        """The name of the next item, behind the open one if there is one."""
        return f"{self._request_id}_{len(self.items) + (self._item is not None)}"

    def _place(self) -> Json:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self.items)}

    def _told(self) -> list[Json]:
        told, self._untold = self._untold, []
        return told
