"""/v1/responses: answers that a later request can go on from."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foreword.engine import Logprob, SamplingParams
from foreword.errors import NotFoundError
from foreword.server.http import Caller, EventStream, caller, service, unless_gone
from foreword.server.neutral import UNLIMITED, Choice, Conversation, Diagnosis, Message, NeutralRequest, ToolCall, Usage
from foreword.server.openai.responses_schema import (
    FunctionCallItem,
    FunctionCallOutput,
    InputItem,
    InputMessage,
    InputText,
    ResponseBody,
    ResponseTool,
)
from foreword.server.openai.stream import errors_as_events, sse
from foreword.server.openai.translate import DEFAULT_TTL, cache_settings, is_prewarm, marked, marks, parsed
from foreword.server.openai.usage import cache_diagnostics, response_usage, token_logprobs
from foreword.server.recent import Recent
from foreword.server.service import Service, UpdateStream

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was given, and the conversation up to its end, without instructions: those are each request's own."""

    content: Json
    messages: tuple[Message, ...]


def make_router(remembered: int) -> APIRouter:
    """The endpoint, with a memory for so many responses."""
    router, stored = APIRouter(tags=["OpenAI"]), Recent[StoredResponse](remembered)

    @router.post("/v1/responses", response_model=None)
    async def create_response(body: ResponseBody, request: Request) -> Response:
        """Answer an input; with ``stream``, event by event."""
        who, served = caller(request), service(request)
        turn = _Turn(body, who, served, _history(stored, who, body), stored)
        if body.stream:
            updates = await unless_gone(request, served.open(turn.asked))
            events = errors_as_events(turn.events(updates), who.request_id)
            return EventStream(events, updates.close, served.config.send_timeout)
        answer = await unless_gone(request, served.answer(turn.asked))
        return JSONResponse(turn.finish(answer.choices[0], answer.usage, answer.diagnosis))

    @router.get("/v1/responses/{response_id}", response_model=None)
    async def get_response(response_id: str, request: Request) -> Response:
        """A response of late."""
        return JSONResponse(_find(stored, caller(request), response_id).content)

    @router.delete("/v1/responses/{response_id}", response_model=None)
    async def delete_response(response_id: str, request: Request) -> Response:
        """Forget a response."""
        _find(stored, caller(request), response_id)
        stored.remove(caller(request).tenant, response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})

    return router


class _Turn:
    """One request and its response."""

    def __init__(
        self, body: ResponseBody, who: Caller, served: Service, history: tuple[Message, ...], stored: Recent[StoredResponse]
    ):
        self._body, self._who, self._served, self._stored = body, who, served, stored
        self._created = int(time.time())
        self._messages = (*history, *_messages(body.input))
        system = (Message("system", (body.instructions,)),) if body.instructions is not None else ()
        self._shift = len(system) + len(history)
        self.asked = NeutralRequest(
            request_id=f"resp_{who.request_id}",
            tenant=who.tenant,
            model=body.model,
            prompt=Conversation(
                messages=(*system, *self._messages),
                tools=tuple(map(_tool, body.tools or ())),
                marks=marks(body, self._breakpoints()),
            ),
            sampling=_sampling(body),
            stream=bool(body.stream),
            cache=cache_settings(body),
        )

    async def events(self, updates: UpdateStream) -> AsyncIterator[bytes]:
        """The events of a stream, numbered."""
        number = 0

        def numbered(kind: str, **fields: Any) -> bytes:
            nonlocal number
            number += 1
            return sse({"type": kind, "sequence_number": number - 1, **fields}, kind)

        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        empty = self._content("in_progress", [], None, None, None)
        yield numbered("response.created", response=empty)
        yield numbered("response.in_progress", response=empty)
        item = self._item("in_progress", None)
        yield numbered("response.output_item.added", output_index=0, item=item)
        yield numbered("response.content_part.added", **place, part=self._part(Choice(0, "", ())))
        text = ""
        tokens: list[int] = []
        logprobs: list[Mapping[int, Logprob]] = []
        async for update in updates:
            for choice in update.choices:
                text += choice.text
                tokens += choice.token_ids
                logprobs += choice.logprobs or ()
                if choice.text:
                    told = token_logprobs(choice, self._body.top_logprobs or 0)
                    yield numbered("response.output_text.delta", **place, delta=choice.text, logprobs=told)
                if update.finished:
                    whole = Choice(0, text, tuple(tokens), choice.finish_reason, choice.stop_reason, tuple(logprobs))
                    content = self.finish(whole, update.usage, update.diagnosis)
                    part, told = self._part(whole), token_logprobs(whole, self._body.top_logprobs or 0)
                    yield numbered("response.output_text.done", **place, text=text, logprobs=told)
                    yield numbered("response.content_part.done", **place, part=part)
                    yield numbered("response.output_item.done", output_index=0, item=self._item(content["status"], whole))
                    yield numbered(f"response.{content['status']}", response=content)

    def finish(self, choice: Choice, usage: Usage, diagnosis: Diagnosis | None) -> Json:
        """The whole response, remembered unless the client does not want that."""
        status = "incomplete" if choice.finish_reason == "length" else "completed"
        if is_prewarm(self._body):
            status, output = "completed", []
        else:
            output = [self._item(status, choice)]
        content = self._content(status, output, usage, diagnosis, choice)
        if self._body.store is not False:
            messages = (*self._messages, Message("assistant", (choice.text,))) if output else self._messages
            size = 8 * sum(len(block) for message in messages for block in message.blocks) + 4000
            entry = StoredResponse(content, messages)
            self._stored.add(self._who.tenant, self.asked.request_id, entry, size)
        return content

    @property
    def _item_id(self) -> str:
        return f"msg_{self._who.request_id}"

    def _breakpoints(self) -> Iterator[tuple[int, int]]:
        """Marked texts as (message, block), counted behind the instructions and the history."""
        if isinstance(self._body.input, str):
            return
        for index, item in enumerate(self._body.input):
            content = item.output if isinstance(item, FunctionCallOutput) else getattr(item, "content", None)
            if isinstance(content, list):
                for block, part in enumerate(content):
                    if marked(part.prompt_cache_breakpoint, part):
                        yield self._shift + index, block

    def _part(self, choice: Choice) -> Json:
        logprobs = token_logprobs(choice, self._body.top_logprobs or 0)
        return {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": logprobs}

    def _item(self, status: str, choice: Choice | None) -> Json:
        content = [] if choice is None else [self._part(choice)]
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _content(
        self, status: str, output: list[Json], usage: Usage | None, diagnosis: Diagnosis | None, choice: Choice | None
    ) -> Json:
        body, options = self._body, self._body.prompt_cache_options
        incomplete = {"reason": "max_output_tokens"} if status == "incomplete" and choice is not None else None
        content: Json = {
            "id": self.asked.request_id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": incomplete,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "prompt_cache_retention": body.prompt_cache_retention,
            "reasoning": None,
            "store": body.store is not False,
            "temperature": self.asked.sampling.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": self.asked.sampling.top_p,
            "truncation": "disabled",
            "usage": None if usage is None else response_usage(usage),
            "user": body.user,
        }
        if options is not None:
            content["prompt_cache_options"] = {**options.model_dump(exclude={"prewarm"}), "ttl": options.ttl or DEFAULT_TTL}
        if diagnosis is not None:
            content["prompt_cache_diagnostics"] = cache_diagnostics(diagnosis)
        return content


def _find(stored: Recent[StoredResponse], who: Caller, response_id: str) -> StoredResponse:
    found = stored.get(who.tenant, response_id)
    if found is None:
        raise NotFoundError(f"Response {response_id!r} is not here: it never was, was not to be stored, or is forgotten.")
    return found


def _history(stored: Recent[StoredResponse], who: Caller, body: ResponseBody) -> tuple[Message, ...]:
    """The conversation that this request goes on from."""
    return () if body.previous_response_id is None else _find(stored, who, body.previous_response_id).messages


def _sampling(body: ResponseBody) -> SamplingParams:
    given = {name: value for name in ("temperature", "top_p") if (value := getattr(body, name)) is not None}
    most = UNLIMITED if body.max_output_tokens is None else body.max_output_tokens
    wanted = body.top_logprobs is not None or bool(body.include)
    return SamplingParams(
        **given, max_tokens=0 if is_prewarm(body) else most, logprobs=(body.top_logprobs or 0) if wanted else None
    )


def _messages(given: str | list[InputItem]) -> Iterator[Message]:
    """The input as messages; one for each item."""
    if isinstance(given, str):
        yield Message("user", (given,))
        return
    for item in given:
        if isinstance(item, InputMessage):
            yield Message(item.role, _blocks(item.content))
        elif isinstance(item, FunctionCallItem):
            yield Message("assistant", (), (ToolCall(item.call_id, item.name, parsed(item.arguments)),))
        else:
            yield Message("tool", _blocks(item.output), tool_call_id=item.call_id)


def _blocks(content: str | list[InputText]) -> tuple[str, ...]:
    return (content,) if isinstance(content, str) else tuple(part.text for part in content)


def _tool(given: ResponseTool) -> Json:
    """A tool as chat templates know it."""
    return {"type": "function", "function": given.model_dump(exclude_none=True, exclude={"type"})}
