"""/v1/responses: answers that a later request can go on from."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foreword.errors import NotFoundError, ParameterError, PromptTooLong
from foreword.prompt.chat import ChatPrompt, Message, text_blocks
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.openai import read_items
from foreword.prompt.vendor_forms.reasoning import read_thought
from foreword.sampling_params import SamplingParams
from foreword.server.body_route import BodyRoute
from foreword.server.event_stream import EventStream, event
from foreword.server.http import Caller, caller, note_passed_over, read_aside, service
from foreword.server.openai.errors import failure
from foreword.server.openai.formats import chosen, format_form, narrowed
from foreword.server.openai.namespaces import OfferedTools
from foreword.server.openai.requests import cache_settings, effort_options, is_prewarm, marked, marks, said_of_sampling, tool
from foreword.server.openai.response_items import Output
from foreword.server.openai.responses_schema import (
    FunctionCallOutput,
    InputItem,
    InputMessage,
    ReasoningItem,
    ResponseBody,
)
from foreword.server.openai.schema import Breakpoint
from foreword.server.openai.usage import cache_diagnostics, response_usage
from foreword.serving.neutral import (
    UNLIMITED,
    Answer,
    Choice,
    Diagnosis,
    NeutralRequest,
    TokenUsage,
    Update,
    UsableTools,
)
from foreword.serving.remembered import Remembered

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was given, and the conversation up to its end, without instructions: those are each request's own."""

    content: Json
    messages: tuple[Message, ...]


def make_router(remembered: int) -> APIRouter:
    """The endpoint, with a memory for so many responses."""
    router, stored = APIRouter(tags=["OpenAI"], route_class=BodyRoute), Remembered[StoredResponse](remembered)

    @router.post("/v1/responses", response_model=None)
    async def create_response(body: ResponseBody, request: Request) -> Response:
        """Answer an input; with ``stream``, event by event."""
        note_passed_over(request, body)
        who, served = caller(request), service(request)
        history = _history(stored, who, body)
        turn = await read_aside(request, lambda: _Turn(body, who, history, stored, served.default_sampling))
        if body.stream:
            try:
                updates = await served.open(turn.asked)
            except PromptTooLong as error:  # Codex reads no code of an answer, and compacts by that of an event
                return EventStream(turn.refusal(error), _nothing_to_close, served.config)
            return EventStream(turn.events(updates), updates.close, served.config)
        answer = await served.answer(turn.asked)
        return JSONResponse(turn.whole(answer))

    @router.post("/v1/responses/input_tokens", response_model=None)
    async def count_input_tokens(body: ResponseBody, request: Request) -> Response:
        """How many tokens the prompt of a response has; nothing is computed or cached."""
        note_passed_over(request, body)
        who, served = caller(request), service(request)
        served.model.check_name(body.model)
        history = _history(stored, who, body)
        turn = await read_aside(request, lambda: _Turn(body, who, history, stored, served.default_sampling))
        count = await served.count_tokens(turn.asked.prompt)
        return JSONResponse({"object": "response.input_tokens", "input_tokens": count})

    @router.get("/v1/responses/{response_id}", response_model=None)
    async def get_response(response_id: str, request: Request) -> Response:
        """A response of late, in one piece."""
        if request.query_params.get("stream") in ("true", "True", "1"):
            raise ParameterError("stream: a response that is read again comes in one piece; leave it out.")
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
        self,
        body: ResponseBody,
        who: Caller,
        history: tuple[Message, ...],
        stored: Remembered[StoredResponse],
        defaults: SamplingParams,
    ):
        self._body, self._who, self._stored = body, who, stored
        self._created = int(time.time())
        self._tools = [tool.model_dump() for tool in body.tools or ()]  # here, where a long body holds nobody up
        self._offered = OfferedTools(body.tools or ())
        self._items = [item for item in _items(body.input) if not _is_foreign(item)]
        self._read = read_items(self._offered.readable(item.model_dump(exclude_unset=True) for item in self._items), history)
        self._messages = self._read.messages
        system = (Message("system", text_blocks(body.instructions)),) if body.instructions is not None else ()
        self._shift = len(system)
        self.asked = NeutralRequest(
            request_id=f"resp_{who.request_id}",
            tenant=who.tenant,
            model=body.model,
            prompt=ChatPrompt(
                messages=(*system, *self._messages),
                tools=tuple(map(tool, self._offered.functions)),
                marks=marks(body, self._breakpoints()),
                template_options=effort_options(None if body.reasoning is None else body.reasoning.effort),
            ),
            sampling=_sampling(body, defaults),
            stream=bool(body.stream),
            cache=cache_settings(body, self._who),
            tools=self._usable_tools(),
            form_field="text.format",
            settings={"reasoning_effort": None if body.reasoning is None else body.reasoning.effort},
        )

    async def events(self, updates: AsyncIterator[Update]) -> AsyncIterator[bytes]:
        """The events of a stream, numbered; an error is the last of them."""
        numbered, output = _Numbered(), self._output()
        try:
            async for piece in self._events(updates, numbered, output):
                yield piece
        except Exception as error:
            yield self._failed(error, numbered, output.items)

    async def refusal(self, error: Exception) -> AsyncIterator[bytes]:
        """The events of a stream that ends with an error before it has begun."""
        numbered = _Numbered()
        yield numbered("response.created", response=self._content("in_progress", [], None, None))
        yield self._failed(error, numbered, [])

    def _failed(self, error: Exception, numbered: "_Numbered", output: list[Json]) -> bytes:
        content = self._content("failed", output, None, None)
        return numbered("response.failed", response={**content, "error": failure(error)})

    async def _events(self, updates: AsyncIterator[Update], numbered: "_Numbered", output: Output) -> AsyncIterator[bytes]:
        empty = self._content("in_progress", [], None, None)
        yield numbered("response.created", response=empty)
        yield numbered("response.in_progress", response=empty)
        diagnosis = None
        async for update in updates:
            diagnosis = diagnosis or update.diagnosis  # it comes with the first update
            for choice in update.choices:
                for kind, fields in output.feed(choice):
                    yield numbered(kind, **fields)
                if choice.finish_reason is not None:
                    status = self._status(choice)
                    for kind, fields in [] if is_prewarm(self._body) else output.finish(status):
                        yield numbered(kind, **fields)
                    content = self._finish(status, output.items, update.usage, diagnosis)
                    yield numbered(f"response.{status}", response=content)

    def whole(self, answer: Answer) -> Json:
        """The response, in one piece."""
        choice, output = answer.choices[0], self._output()
        status = self._status(choice)
        if not is_prewarm(self._body):
            output.feed(choice)
            output.finish(status)
        return self._finish(status, output.items, answer.usage, answer.diagnosis)

    def _finish(self, status: str, output: list[Json], usage: TokenUsage, diagnosis: Diagnosis | None) -> Json:
        """The whole response, remembered unless the client does not want that."""
        content = self._content(status, output, usage, diagnosis)
        if self._body.store is not False:
            messages = read_items(self._offered.readable(output), self._messages).messages
            size = 8 * sum(len(text) for message in messages for text in message.texts) + 4000
            entry = StoredResponse(content, messages)
            self._stored.add(self._who.tenant, self.asked.request_id, entry, size)
        return content

    def _output(self) -> Output:
        encrypted = "reasoning.encrypted_content" in (self._body.include or ())
        return Output(self._who.request_id, self._body.top_logprobs or 0, self.asked.tools.namespaces, encrypted)

    def _status(self, choice: Choice) -> str:
        cut = choice.finish_reason == "length" and not is_prewarm(self._body)
        return "incomplete" if cut else "completed"

    def _usable_tools(self) -> UsableTools:
        body, offered = self._body, self._offered
        usable = UsableTools(
            frozenset(tool.name for tool in offered.functions),
            body.parallel_tool_calls is not False,
            offered.namespaces,
            strict=frozenset(tool.name for tool in offered.functions if tool.strict),
        )
        return narrowed(usable, *chosen(body.tool_choice))

    def _breakpoints(self) -> Iterator[tuple[int, int, Breakpoint]]:
        """Marked texts with message and block, counted behind the instructions."""
        for item, (message, first) in zip(self._items, self._read.places, strict=True):
            if isinstance(item, ReasoningItem):
                continue
            content = item.output if isinstance(item, FunctionCallOutput) else getattr(item, "content", None)
            for block, mark in marked(content):
                yield self._shift + message, first + block, mark

    def _content(self, status: str, output: list[Json], usage: TokenUsage | None, diagnosis: Diagnosis | None) -> Json:
        body, options = self._body, self._body.prompt_cache_options
        incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
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
            "reasoning": {"effort": None if body.reasoning is None else body.reasoning.effort, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": body.store is not False,
            "temperature": self.asked.sampling.temperature,
            "text": {"format": _format(body)},
            "tool_choice": _tool_choice(body),
            "tools": self._tools,
            "top_logprobs": body.top_logprobs or 0,
            "top_p": self.asked.sampling.top_p,
            "truncation": "disabled",
            "usage": None if usage is None else response_usage(usage),
            "user": body.user,
        }
        if options is not None:
            content["prompt_cache_options"] = {
                **options.model_dump(exclude={"prewarm"}),
                "ttl": options.ttl or ttl.OPENAI_DEFAULT,
            }
        if diagnosis is not None:
            content["prompt_cache_diagnostics"] = cache_diagnostics(diagnosis)
        return content


def _nothing_to_close() -> None:
    """What a stream without an answer behind it has to let go."""


def _find(stored: Remembered[StoredResponse], who: Caller, response_id: str) -> StoredResponse:
    found = stored.get(who.tenant, response_id)
    if found is None:
        raise NotFoundError(f"Response {response_id!r} is not here: it never was, was not to be stored, or is forgotten.")
    return found


def _history(stored: Remembered[StoredResponse], who: Caller, body: ResponseBody) -> tuple[Message, ...]:
    """The conversation that this request goes on from."""
    return _find(stored, who, body.previous_response_id).messages if body.previous_response_id else ()


def _sampling(body: ResponseBody, defaults: SamplingParams) -> SamplingParams:
    most = UNLIMITED if body.max_output_tokens is None else body.max_output_tokens
    wanted = body.top_logprobs is not None or "message.output_text.logprobs" in (body.include or ())
    return replace(
        defaults,
        **said_of_sampling(body),
        max_tokens=0 if is_prewarm(body) else most,
        logprobs=(body.top_logprobs or 0) if wanted else None,
        structured_outputs=None if body.text is None else format_form(body.text.format),
    )


def _items(given: str | list[InputItem]) -> list[InputItem]:
    return [InputMessage(role="user", content=given)] if isinstance(given, str) else given


def _is_foreign(item: InputItem) -> bool:
    """Whether an item is a thought of which this server can read nothing."""
    return isinstance(item, ReasoningItem) and not read_thought(item.model_dump())


class _Numbered:
    """Makes events, each with the next number."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **fields}, kind)


def _format(body: ResponseBody) -> Json:
    """The form of the answer, as the client asked for it."""
    given = None if body.text is None else body.text.format
    return {"type": "text"} if given is None else given.model_dump(by_alias=True, exclude_none=True)


def _tool_choice(body: ResponseBody) -> str | Json:
    """The choice of tools, as the client made it."""
    choice = body.tool_choice or "auto"
    return choice if isinstance(choice, str) else choice.model_dump()
