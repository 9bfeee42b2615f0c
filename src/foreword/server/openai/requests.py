"""OpenAI's request fields as neutral ones."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from foreword.errors import ParameterError, PromptError
from foreword.prompt.chat import ChatPrompt, MarkAt, Tool
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.openai import MAX_MARKS, read_message
from foreword.prompt.vendor_forms.tools import as_function
from foreword.sampling_params import SamplingParams
from foreword.server.http import Caller, conversation_said
from foreword.server.openai.formats import form_of
from foreword.server.openai.responses_schema import ResponseTool
from foreword.server.openai.schema import (
    Breakpoint,
    CacheFields,
    ChatBody,
    ChatMessage,
    CompletionBody,
    CompletionFields,
    PredictionFields,
    SamplingFields,
    ToolParam,
)
from foreword.serving.neutral import UNLIMITED, CacheMode, CacheSettings

SAMPLING = frozenset(CompletionFields.model_fields)


def sampling_params(
    body: ChatBody | CompletionBody, defaults: SamplingParams, max_tokens: int | None, logprobs: int | None
) -> SamplingParams:
    """Sampling parameters; ParameterError for a value out of range. What the body does not say is as in ``defaults``."""
    most = UNLIMITED if max_tokens is None else max_tokens
    given = said_of_sampling(body)
    return replace(defaults, **given, max_tokens=most, logprobs=logprobs, structured_outputs=form_of(body)[0])


def said_of_sampling(body: SamplingFields) -> dict[str, Any]:
    """The sampling parameters that a body gives."""
    return {name: value for name in SAMPLING & body.model_fields_set if (value := getattr(body, name)) is not None}


def cache_settings(body: CacheFields, who: Caller) -> CacheSettings:
    """What the body, and of the conversation also the header, says about the cache.

    A lifetime that is asked for (``ttl``, or retention ``24h``) is honoured with a mark at the end of the prompt, which is
    the breakpoint that implicit mode makes; without one the prompt is cached without a mark, like everything here.
    """
    options = body.prompt_cache_options
    mode = CacheMode.IMPLICIT if options is None else CacheMode(options.mode)
    keep: float | None = None
    if mode is CacheMode.IMPLICIT:
        if options is not None and options.ttl is not None:
            keep = ttl.OPENAI[options.ttl]
        elif body.prompt_cache_retention == "24h":
            keep = ttl.OPENAI_RETENTION[body.prompt_cache_retention]
    return CacheSettings(
        salt=body.cache_salt,
        mode=mode,
        compare_with=None if options is None else options.comparison_response_id,
        keep_seconds=keep,
        conversation=conversation_said(who, body.cache_conversation, None if options is None else options.conversation),
    )


def prediction(body: PredictionFields) -> str:
    """What the body predicts of the answer, as one text."""
    content = "" if body.prediction is None else body.prediction.content
    return content if isinstance(content, str) else "".join(part.text for part in content)


def check_stream_options(body: ChatBody | CompletionBody) -> None:
    """ParameterError for a wish about a stream where there is to be none."""
    if body.stream_options is not None and body.stream_options.include_usage and not body.stream:
        raise ParameterError("stream_options is only for stream=true; leave it out.")


def is_prewarm(body: CacheFields) -> bool:
    """Whether only the cache is to be filled."""
    return body.prompt_cache_options is not None and body.prompt_cache_options.prewarm


def marks(body: CacheFields, breakpoints: Iterable[tuple[int, int, Breakpoint]]) -> tuple[MarkAt, ...]:
    """Marks for the breakpoints of a conversation, given with message and block: the latest ones, as many as are written.

    One that names no lifetime has that of the request.
    """
    options = body.prompt_cache_options
    usual = (options.ttl if options is not None else None) or ttl.OPENAI_DEFAULT
    most = MAX_MARKS if options is not None and options.mode == "explicit" else MAX_MARKS - 1
    return tuple(MarkAt(message, block, ttl.OPENAI[mark.ttl or usual]) for message, block, mark in list(breakpoints)[-most:])


def chat_conversation(body: ChatBody) -> ChatPrompt:
    """The conversation of a chat completion. PromptError for what is malformed."""
    for index, message in enumerate(body.messages):
        _check_message(index, message)
    given = (message.model_dump(exclude_unset=True) for message in body.messages)  # one at a time: a dump lets nobody in
    return ChatPrompt(
        messages=tuple(read_message(message).with_opened_calls() for message in given),
        tools=tuple(map(tool, body.tools or ())),
        marks=marks(body, _breakpoints(body.messages)),
        add_generation_prompt=body.add_generation_prompt is not False,
        go_on=_goes_on(body),
        template_options={**effort_options(body.reasoning_effort), **(body.chat_template_kwargs or {})},
    )


def _goes_on(body: ChatBody) -> bool:
    """Whether the last message is an answer that has begun. PromptError for a body that says two things of it."""
    goes_on = body.continue_final_message or body.messages[-1].prefix
    if goes_on and body.add_generation_prompt:
        raise PromptError("continue_final_message and add_generation_prompt say different things; leave one of them out.")
    if any(message.prefix for message in body.messages[:-1]):
        raise PromptError("prefix: only the last message is an answer that has begun; leave it out of the others.")
    return goes_on


def effort_options(effort: str | None) -> dict[str, Any]:
    """How much is to be thought, in the words of chat templates that have a switch for it; others pass over them."""
    if effort is None:
        return {}
    return {"reasoning_effort": effort, **({"enable_thinking": False} if effort == "none" else {})}


def _check_message(index: int, message: ChatMessage) -> None:
    """PromptError for a message that lacks what its role needs, or has what only another has."""
    if message.content is None and not message.tool_calls and message.role != "assistant":
        raise PromptError(f"messages.{index}: it has neither content nor tool_calls.")
    if message.role == "tool" and message.tool_call_id is None:
        raise PromptError(
            f"messages.{index}: a message of role 'tool' needs tool_call_id, the id of the call that it answers."
        )
    if message.tool_calls and message.role != "assistant":
        raise PromptError(f"messages.{index}: only the assistant has tool_calls, not {message.role!r}.")


def tool(given: ToolParam | ResponseTool) -> Tool:
    """A tool as a function, without what was not given."""
    written = given.model_dump(exclude_none=True)
    (written if isinstance(given, ResponseTool) else written["function"]).pop("strict", None)  # says nothing to the model
    return as_function(written)


def _breakpoints(messages: list[ChatMessage]) -> Iterator[tuple[int, int, Breakpoint]]:
    for index, message in enumerate(messages):
        yield from ((index, block, mark) for block, mark in marked(message.content))


def marked(content: Any) -> Iterator[tuple[int, Breakpoint]]:
    """The parts of a content that end a prefix worth keeping. PromptError for a mark on an empty text."""
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if part.prompt_cache_breakpoint is not None:
            if not part.text:
                raise PromptError("prompt_cache_breakpoint stands on an empty text; put it on one that is not.")
            yield number, part.prompt_cache_breakpoint
