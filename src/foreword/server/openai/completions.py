"""/v1/completions."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foreword.errors import ParameterError
from foreword.server.body_route import BodyRoute
from foreword.server.event_stream import EventStream, event
from foreword.server.http import Caller, caller, note_passed_over, read_aside, service
from foreword.server.openai.completion_logprobs import CompletionLogprobs, prompt_logprobs, prompt_places
from foreword.server.openai.formats import form_of
from foreword.server.openai.requests import cache_settings, check_stream_options, is_prewarm, prediction, sampling_params
from foreword.server.openai.schema import CompletionBody
from foreword.server.openai.sse import DONE, errors_as_events
from foreword.server.openai.usage import cache_diagnostics, completion_usage
from foreword.serving.neutral import Answer, Choice, NeutralRequest, PromptLogprobs, TokenUsage, Update
from foreword.serving.service import Service
from foreword.serving.stream import UpdateStream

Json = dict[str, Any]
DEFAULT_MAX_TOKENS = 16
router = APIRouter(tags=["OpenAI"], route_class=BodyRoute)


@router.post("/v1/completions", response_model=None)
async def create_completion(body: CompletionBody, request: Request) -> Response:
    """Continue one prompt or several; with ``stream``, piece by piece."""
    note_passed_over(request, body)
    who, served = caller(request), service(request)
    asked = await read_aside(request, lambda: _neutral_requests(body, who, served))
    echoed = [await served.text_of(one.prompt) if body.echo else "" for one in asked]
    check_stream_options(body)
    if body.stream:
        streams = await _open_all(served, asked)
        events = errors_as_events(_chunks(body, who, streams, _Pieces(body, echoed, served)), who.request_id)

        def close() -> None:
            for stream in streams:
                stream.close()

        return EventStream(events, close, served.config)
    answers, pieces = await _answer_all(served, asked), _Pieces(body, echoed, served)
    content: Json = {
        **_head(body, who),
        "choices": [
            pieces.of(place, choice, answer.prompt) for place, answer in enumerate(answers) for choice in answer.choices
        ],
        "usage": completion_usage(answer.usage for answer in answers),
    }
    if answers[0].diagnosis is not None:
        content["prompt_cache_diagnostics"] = cache_diagnostics(answers[0].diagnosis)
    return JSONResponse(content)


def _neutral_requests(body: CompletionBody, who: Caller, served: Service) -> list[NeutralRequest]:
    prompts, most = _prompts(body), served.config.max_choices
    if len(prompts) > most:
        raise ParameterError(f"prompt has {len(prompts)} prompts; this server takes {most} in one request.")
    if body.prompt_logprobs is not None and body.stream:
        raise ParameterError("prompt_logprobs come with a whole answer; leave stream out, or ask for echo and logprobs.")
    tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    sampling = sampling_params(body, served.default_sampling, 0 if is_prewarm(body) else tokens, body.logprobs)
    if body.echo and body.logprobs is not None:
        sampling = replace(sampling, prompt_logprobs=max(body.logprobs, body.prompt_logprobs or 0))
    return [
        NeutralRequest(
            request_id=f"cmpl-{who.request_id}" if len(prompts) == 1 else f"cmpl-{who.request_id}-{place}",
            tenant=who.tenant,
            model=body.model,
            prompt=prompt,
            sampling=sampling,
            stream=bool(body.stream),
            cache=cache_settings(body, who),
            form_field=form_of(body)[1],
            prediction=prediction(body),
        )
        for place, prompt in enumerate(prompts)
    ]


def _prompts(body: CompletionBody) -> list[str | tuple[int, ...]]:
    """A prompt in any of its four forms, as a list of texts or of token ids."""
    given = body.prompt
    if isinstance(given, str):
        return [given]
    if not given:
        raise ParameterError("prompt is an empty list; it needs a text or token ids.")
    if isinstance(given[0], int):
        return [tuple(given)]
    return [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in given]


async def _open_all(served: Service, asked: list[NeutralRequest]) -> list[UpdateStream]:
    """Take all requests, or none."""
    streams: list[UpdateStream] = []
    try:
        for one in asked:
            streams.append(await served.open(one))
    except BaseException:
        for stream in streams:
            stream.close()
        raise
    return streams


async def _answer_all(served: Service, asked: list[NeutralRequest]) -> list[Answer]:
    """Answer all requests; the first error ends them all."""
    if len(asked) == 1:
        return [await served.answer(asked[0])]
    tasks = [asyncio.ensure_future(served.answer(one)) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _chunks(body: CompletionBody, who: Caller, streams: list[UpdateStream], pieces: "_Pieces") -> AsyncIterator[bytes]:
    """The events of a stream: pieces of all prompts' choices as they come, and at last the usage if it was asked for."""
    head = _head(body, who)
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    if with_usage:
        head["usage"] = None
    usages: dict[int, TokenUsage] = {}
    async for place, update in _merged(streams):
        usages[place] = update.usage
        for choice in update.choices:
            chunk = {**head, "choices": [pieces.of(place, choice, update.prompt)]}
            if update.diagnosis is not None:
                chunk["prompt_cache_diagnostics"] = cache_diagnostics(update.diagnosis)
            yield event(chunk)
    if with_usage:
        yield event({**head, "choices": [], "usage": completion_usage(usages.values())})
    yield DONE


async def _merged(streams: list[UpdateStream]) -> AsyncIterator[tuple[int, Update]]:
    """The updates of several streams as they come, each with its stream's number."""
    if len(streams) == 1:
        async for update in streams[0]:
            yield 0, update
        return
    waiting = {asyncio.ensure_future(anext(stream)): place for place, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                place = waiting.pop(task)
                update = task.result()
                if not update.finished:
                    waiting[asyncio.ensure_future(anext(streams[place]))] = place
                yield place, update
    finally:
        for task in waiting:
            task.cancel()


def _head(body: CompletionBody, who: Caller) -> Json:
    return {
        "id": f"cmpl-{who.request_id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": body.model,
    }


class _Pieces:
    """The choices of a request as they come: each begins with its prompt where that is to be repeated."""

    def __init__(self, body: CompletionBody, echoed: list[str], served: Service):
        self._body, self._echoed, self._served = body, echoed, served
        self._logprobs: dict[int, CompletionLogprobs] = {}  # by the choice's number
        self._prompts: dict[int, PromptLogprobs] = {}  # by the prompt's place

    def of(self, place: int, choice: Choice, prompt: PromptLogprobs | None) -> Json:
        """A choice of the prompt at ``place``, or what is new of it; ``prompt`` comes with the first news of any."""
        body, index = self._body, place * (self._body.n or 1) + choice.index
        if prompt is not None:
            self._prompts[place] = prompt
        begins = index not in self._logprobs
        written = self._logprobs.setdefault(index, CompletionLogprobs(body.logprobs or 0, self._as_ids))
        echoes = begins and body.echo and place in self._prompts
        before = prompt_places(self._prompts[place], self._as_ids, self._served.token) if echoes else ()
        piece: Json = {
            "index": index,
            "text": (self._echoed[place] if begins else "") + choice.text,
            "logprobs": None if body.logprobs is None else written.of(choice, before),
            "finish_reason": choice.finish_reason,
        }
        if body.prompt_logprobs is not None:
            piece["prompt_logprobs"] = prompt_logprobs(self._prompts.get(place))
        return piece

    @property
    def _as_ids(self) -> bool:
        return bool(self._body.return_tokens_as_token_ids)
