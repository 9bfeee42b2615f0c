"""/v1/messages and /v1/messages/count_tokens."""

from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foreword.errors import ParameterError
from foreword.sampling_params import SamplingParams, StructuredOutputs
from foreword.server.anthropic.answers import Head, events, message
from foreword.server.anthropic.conversation import conversation
from foreword.server.anthropic.errors import error_body, status_here
from foreword.server.anthropic.schema import CountTokensBody, MessagesBody
from foreword.server.body_route import BodyRoute
from foreword.server.event_stream import EventStream, event
from foreword.server.http import Caller, caller, conversation_said, note_passed_over, read_aside, service
from foreword.serving.neutral import CacheSettings, NeutralRequest, UsableTools
from foreword.serving.stream import UpdateStream

router = APIRouter(tags=["Anthropic"], route_class=BodyRoute)
PING = event({"type": "ping"}, "ping")


@router.post("/v1/messages", response_model=None)
async def create_message(body: MessagesBody, request: Request) -> Response:
    """Answer a conversation; with ``stream``, piece by piece. ``max_tokens: 0`` computes the prompt, to have it cached."""
    note_passed_over(request, body)
    who, served = caller(request), service(request)
    asked = await read_aside(request, lambda: neutral_request(body, who, served.default_sampling))
    head = Head(asked.request_id, asked.model, body.max_tokens)
    if body.stream:
        updates = await served.open(asked)
        return EventStream(_sse(head, updates, who.request_id), updates.close, served.config, PING)
    answer = await served.answer(asked)
    return JSONResponse(message(head, answer))


@router.post("/v1/messages/count_tokens", response_model=None)
async def count_tokens(body: CountTokensBody, request: Request) -> Response:
    """How many tokens a prompt has; nothing is computed or cached."""
    note_passed_over(request, body)
    served = service(request)
    served.model.check_name(body.model)
    prompt = await read_aside(request, lambda: conversation(body))
    return JSONResponse({"input_tokens": await served.count_tokens(prompt)})


def neutral_request(body: MessagesBody, who: Caller, defaults: SamplingParams) -> NeutralRequest:
    """A body as a neutral request; PromptError for what it may not say."""
    return NeutralRequest(
        request_id=f"msg_{who.request_id}",
        tenant=who.tenant,
        model=body.model,
        prompt=conversation(body),
        sampling=_sampling(body, defaults),
        stream=body.stream,
        cache=CacheSettings(
            compare_with=body.diagnostics.previous_message_id if body.diagnostics else None,
            conversation=conversation_said(
                who, body.cache_conversation, None if body.cache_control is None else body.cache_control.conversation
            ),
        ),
        tools=_usable_tools(body),
        form_field=_form(body)[1],
    )


def _sampling(body: MessagesBody, defaults: SamplingParams) -> SamplingParams:
    given = {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(body, name)) is not None}
    form, _ = _form(body)
    stop = tuple(body.stop_sequences)
    return replace(defaults, **given, max_tokens=body.max_tokens, stop=stop, structured_outputs=form)


def _usable_tools(body: MessagesBody) -> UsableTools:
    """The tools that the answer may use. With ``none`` they stay in the prompt, so that it still hits.

    ParameterError for a tool that has to be used and is not there.
    """
    names, choice = frozenset(tool.name for tool in body.tools), body.tool_choice
    strict = frozenset(tool.name for tool in body.tools if tool.strict)
    if choice is not None and choice.name and choice.type != "tool":
        raise ParameterError(
            f"tool_choice.name is {choice.name!r}; it is only for the type 'tool', not for {choice.type!r}."
        )
    if choice is None or choice.type == "auto":
        return UsableTools(names, choice is None or not choice.disable_parallel_tool_use, strict=strict)
    if choice.type == "none":
        return UsableTools()
    if not names:
        raise ParameterError("tool_choice asks for the use of a tool, but there are no tools.")
    if choice.type == "tool" and choice.name not in names:
        named = "names no tool" if choice.name is None else f"names the tool {choice.name!r}, which is not among tools"
        raise ParameterError(f"tool_choice {named}; name one of {', '.join(sorted(names))}.")
    if choice.type == "any":
        return UsableTools(names, not choice.disable_parallel_tool_use, must_call=True, strict=strict)
    one = frozenset((str(choice.name),))
    return UsableTools(one, False, must_call=True, strict=strict & one, only_some=len(names) > 1)


def _form(body: MessagesBody) -> tuple[StructuredOutputs | None, str]:
    """The form of the answer, and the field that asked for it. ParameterError for two."""
    given = None if body.output_config is None else body.output_config.format
    if given is not None and body.output_format is not None:
        raise ParameterError("output_format and output_config.format both say what form the answer has; leave one out.")
    wanted = given or body.output_format
    if wanted is None:
        return None, "output_config.format"
    return StructuredOutputs(json=wanted.schema_), "output_format" if given is None else "output_config.format"


async def _sse(head: Head, updates: UpdateStream, request_id: str) -> AsyncIterator[bytes]:
    """The events of a stream, in bytes; an error becomes the last of them."""
    try:
        async for piece in events(head, updates):
            yield event(piece, piece["type"])
    except Exception as error:
        yield event(error_body(error, status_here(error), request_id), "error")
