"""The bodies of OpenAI's API, as far as they are served.

A field that is not here is refused. A field of the vendor that a self-hosted model cannot honour is accepted only with the
value that asks for nothing (``response_format`` of type ``text``, ``tool_choice`` ``auto`` or ``none``); those that
say something about the client and nothing about the answer (``user``, ``metadata``, ``safety_identifier``) are accepted.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreword.server.json_types import JsonObject, Text

MAX_MESSAGES = 20_000  # each takes some microseconds to read
MAX_TOOLS = 10_000

UNSERVED = {
    "audio": "the model reads and writes text",
    "background": "an answer is given in the request that asks for it",
    "best_of": "ask for n and choose",
    "context_management": "the conversation is taken as it is sent",
    "conversation": "send the messages, or previous_response_id",
    "function_call": "use tool_choice",
    "functions": "use tools",
    "logit_bias": "the logits are the model's own",
    "max_tool_calls": "there are no built-in tools",
    "moderation": "nothing is moderated here",
    "prediction": "there is no speculative decoding",
    "prompt": "there are no stored prompts here",
    "reasoning": "use chat_template_kwargs, if the model's template has a switch",
    "reasoning_effort": "use chat_template_kwargs, if the model's template has a switch",
    "suffix": "the model continues a text; it does not fill gaps",
    "verbosity": "say in the prompt how long the answer should be",
    "web_search_options": "there are no built-in tools",
}
"""Fields that the vendor knows and this server refuses, and why."""
NOTHING: dict[str, Any] = {"best_of": 1}
"""Of fields that are not served the value, beside null and empty ones, that asks for nothing."""


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Body(BaseModel):
    """Base of all bodies: strict types, no unknown fields, but those with a value that asks for nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_for_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not (more := given.keys() - cls.model_fields.keys()):
            return given
        nothing = {name for name in more if given[name] in (None, "", [], {}, NOTHING.get(name))}
        return {name: value for name, value in given.items() if name not in nothing}


class Breakpoint(Body):
    """``prompt_cache_breakpoint``: the exact end of a prefix worth keeping."""

    mode: Literal["explicit"]


class CacheOptions(Body):
    """``prompt_cache_options``."""

    mode: Literal["implicit", "explicit"] = "implicit"
    ttl: Literal["30m", "12h"] | None = None
    comparison_response_id: Text | None = None
    prewarm: bool = False


class CacheFields(Body):
    """What a request may say about the cache, in every endpoint.

    prompt_cache_key
        Tells a router which replica to take. It is no part of the cache's key: sharing goes by tokens, so two keys of one
        tenant share what they have in common.
    prompt_cache_retention
        ``24h`` marks the end of the prompt as worth keeping for so long; ``in_memory`` is what happens anyway.
    cache_salt
        Narrows sharing to requests with the same salt.
    """

    prompt_cache_key: Text | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prompt_cache_options: CacheOptions | None = None
    cache_salt: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None


class SamplingFields(Body):
    """Sampling parameters of both completions endpoints; the second half are vLLM's."""

    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: Count | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None


class ClientFields(Body):
    """What says something about the client and nothing about the answer."""

    user: Text | None = None
    metadata: dict[Text, Text] | None = None
    safety_identifier: Text | None = None
    service_tier: Literal["auto", "default"] | None = None


class StreamOptions(Body):
    """``stream_options``. There is no obfuscation to switch off."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class TextPart(Body):
    """A part of a message. ``cache_control``, another vendor's mark, is a hint that changes nothing here."""

    type: Literal["text"]
    text: Text
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: JsonObject | None = None


class FunctionCall(Body):
    """What an assistant called; ``arguments`` is JSON text."""

    name: Text
    arguments: Text


class ToolCallParam(Body):
    """A call in the history."""

    id: Text
    type: Literal["function"]
    function: FunctionCall


class ChatMessage(Body):
    """A message of a conversation. Answers may be sent back as they came: fields of the answer that are null are taken."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    name: Text | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: Text | None = None
    refusal: None = None
    audio: None = None
    reasoning_content: Text | None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)
    function_call: None = None


class Function(Body):
    """A tool's function. The arguments of calls are the model's own, with ``strict`` too."""

    name: Text
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolParam(Body):
    """A tool that the model is told of."""

    type: Literal["function"]
    function: Function


class TextFormat(Body):
    """The only format: text."""

    type: Literal["text"]


class ChatBody(CacheFields, SamplingFields, ClientFields):
    """The body of /v1/chat/completions."""

    model: Text
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    return_tokens_as_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[ToolParam], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    store: Literal[False] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: JsonObject | None = None


class CompletionBody(CacheFields, SamplingFields, ClientFields):
    """The body of /v1/completions."""

    model: Text
    prompt: Text | list[Text] | list[int] | list[list[int]]
    max_tokens: Count | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
