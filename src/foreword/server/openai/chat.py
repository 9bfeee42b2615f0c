"""/v1/chat/completions."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foreword.errors import ParameterError
from foreword.sampling_params import SamplingParams
from foreword.server.body_route import BodyRoute
from foreword.server.event_stream import EventStream, event
from foreword.server.http import Caller, caller, note_passed_over, read_aside, service
from foreword.server.openai.chat_choices import delta, finish_reason, message, usable_tools
from foreword.server.openai.completion_logprobs import prompt_logprobs
from foreword.server.openai.formats import form_of
from foreword.server.openai.requests import (
    cache_settings,
    chat_conversation,
    check_stream_options,
    is_prewarm,
    prediction,
    sampling_params,
)
from foreword.server.openai.schema import ChatBody
from foreword.server.openai.sse import DONE, errors_as_events
from foreword.server.openai.usage import cache_diagnostics, completion_usage, token_logprobs
from foreword.serving.neutral import Choice, NeutralRequest
from foreword.serving.stream import UpdateStream

Json = dict[str, Any]
router = APIRouter(tags=["OpenAI"], route_class=BodyRoute)


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(body: ChatBody, request: Request) -> Response:
    """Answer a conversation; with ``stream``, piece by piece."""
    note_passed_over(request, body)
    who, served = caller(request), service(request)
    asked = await read_aside(request, lambda: neutral_request(body, who, served.default_sampling))
    check_stream_options(body)
    if body.stream:
        updates = await served.open(asked)
        pieces = errors_as_events(_chunks(body, asked, updates), who.request_id)
        return EventStream(pieces, updates.close, served.config)
    answer = await served.answer(asked)
    content: Json = {
        **_head(asked, "chat.completion"),
        "choices": [_whole(body, choice) for choice in answer.choices],
        "usage": completion_usage([answer.usage]),
    }
    if answer.diagnosis is not None:
        content["prompt_cache_diagnostics"] = cache_diagnostics(answer.diagnosis)
    if body.prompt_logprobs is not None:
        content["prompt_logprobs"] = prompt_logprobs(answer.prompt)
    return JSONResponse(content)


def neutral_request(body: ChatBody, who: Caller, defaults: SamplingParams) -> NeutralRequest:
    """A body as a neutral request; ParameterError and PromptError for what it may not say."""
    limits = [limit for limit in (body.max_completion_tokens, body.max_tokens) if limit is not None]
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    if body.top_logprobs and not body.logprobs:
        raise ParameterError("top_logprobs needs logprobs=true.")
    if body.prompt_logprobs is not None and body.stream:
        raise ParameterError("prompt_logprobs come with a whole answer; leave stream out.")
    return NeutralRequest(
        request_id=f"chatcmpl-{who.request_id}",
        tenant=who.tenant,
        model=body.model,
        prompt=chat_conversation(body),
        sampling=sampling_params(body, defaults, 0 if is_prewarm(body) else min(limits, default=None), logprobs),
        stream=bool(body.stream),
        cache=cache_settings(body, who),
        tools=usable_tools(body),
        form_field=form_of(body)[1],
        prediction=prediction(body),
        settings={"reasoning_effort": body.reasoning_effort},
    )


def _whole(body: ChatBody, choice: Choice) -> Json:
    """A choice of a whole answer."""
    return {
        "index": choice.index,
        "message": message(choice),
        "logprobs": _logprobs(body, choice),
        "finish_reason": finish_reason(choice),
    }


async def _chunks(body: ChatBody, asked: NeutralRequest, updates: UpdateStream) -> AsyncIterator[bytes]:
    """The events of a stream: the role of each choice, its text, its end, and at last the usage if it was asked for."""
    head = _head(asked, "chat.completion.chunk")
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    if with_usage:
        head["usage"] = None
    begun: set[int] = set()
    usage = None
    async for update in updates:
        usage = update.usage
        for choice in update.choices:
            begins = choice.index not in begun
            begun.add(choice.index)
            new = delta(choice, begins)
            if not new and choice.finish_reason is None and not body.logprobs:
                continue
            piece = {
                "index": choice.index,
                "delta": new,
                "logprobs": _logprobs(body, choice),
                "finish_reason": finish_reason(choice),
            }
            chunk = {**head, "choices": [piece]}
            if update.diagnosis is not None:
                chunk["prompt_cache_diagnostics"] = cache_diagnostics(update.diagnosis)
            yield event(chunk)
    if with_usage and usage is not None:
        yield event({**head, "choices": [], "usage": completion_usage([usage])})
    yield DONE


def _head(asked: NeutralRequest, kind: str) -> Json:
    return {"id": asked.request_id, "object": kind, "created": int(time.time()), "model": asked.model}


def _logprobs(body: ChatBody, choice: Choice) -> Json | None:
    if not body.logprobs:
        return None
    told = token_logprobs(choice, body.top_logprobs or 0, bool(body.return_tokens_as_token_ids))
    return {"content": told, "refusal": None}
