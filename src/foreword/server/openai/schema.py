"""The bodies of OpenAI's API, as far as they are honoured. What becomes of other fields: ``fields.py``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from foreword.server.body import Body, Fields, TopBody
from foreword.server.json_types import JsonObject, Text
from foreword.server.openai import fields
from foreword.server.openai.formats import ChatToolChoice, FormFields

MAX_MESSAGES = 10_000
MAX_TOOLS = 5_000

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Breakpoint(Body):
    """``prompt_cache_breakpoint``: the exact end of a prefix worth keeping."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class CacheOptions(Body):
    """``prompt_cache_options``."""

    mode: Literal["implicit", "explicit"] = "implicit"
    ttl: Literal["30m", "12h"] | None = None
    comparison_response_id: Text | None = None
    prewarm: bool = False
    conversation: Literal["goes_on", "ended"] | None = None


class CacheFields(TopBody):
    """What a request may say about the cache, in every endpoint.

    prompt_cache_key
        Tells a router which replica to take. It is no part of the cache's key: sharing goes by tokens, so two keys of one
        tenant share what they have in common.
    prompt_cache_retention
        ``24h`` marks the end of the prompt as worth keeping for so long; ``in_memory`` is what happens anyway.
    cache_salt
        Narrows sharing to requests with the same salt.
    cache_conversation
        Whether the conversation goes on; ``conversation`` among the options says the same.
    """

    prompt_cache_key: Text | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prompt_cache_options: CacheOptions | None = None
    cache_salt: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None
    cache_conversation: Literal["goes_on", "ended"] | None = None


class SamplingFields(TopBody):
    """Sampling parameters of every endpoint; the second half are vLLM's."""

    temperature: float | None = None
    top_p: float | None = None
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
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None


class CompletionFields(SamplingFields):
    """Those that only the completions endpoints have."""

    n: int | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


class StreamOptions(Body):
    """``stream_options``."""

    include_usage: bool = False


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text
    prompt_cache_breakpoint: Breakpoint | None = None


class Prediction(Body):
    """``prediction``: what the client thinks will be answered."""

    type: Literal["content"]
    content: Text | list[TextPart]


class PredictionFields(TopBody):
    """What both completions endpoints take.

    prediction
        Tokens of it are drafted: the answer is the same, and sooner there where it says what was predicted.
    """

    prediction: Prediction | None = None


class RefusalPart(Body):
    """Of an earlier answer: what the model refused with."""

    type: Literal["refusal"]
    refusal: Text
    prompt_cache_breakpoint: None = None

    @property
    def text(self) -> str:
        """What it says."""
        return self.refusal


class MediaPart(Body):
    """An image, a file or sound. Whatever it says of itself, the model reads text: it is refused or left out."""

    model_config = ConfigDict(extra="allow")

    type: Literal["audio_url", "file", "image_url", "input_audio", "video_url"]
    prompt_cache_breakpoint: Breakpoint | None = None

    @property
    def text(self) -> str:
        """What stands for it: never nothing."""
        return self.type


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
    """A message of a conversation. Answers may be sent back as they came: fields of the answer that are null are taken.

    prefix
        Of the last one, as hosted models have it: ``continue_final_message``.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]] | None = None
    name: Text | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: Text | None = None
    refusal: None = None
    audio: None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    function_call: None = None
    prefix: bool = False


class Function(Body):
    """A tool's function; with ``strict`` the arguments of calls follow its schema."""

    name: Text
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolParam(Body):
    """A tool that the model is told of."""

    type: Literal["function"]
    function: Function


class ChatBody(CacheFields, CompletionFields, PredictionFields, FormFields):
    """The body of /v1/chat/completions.

    continue_final_message
        The last message is an answer that has begun: what comes is the rest of it.
    reasoning_effort
        Handed to the chat template, which may have a switch for it.
    """

    table: ClassVar[Fields] = fields.CHAT

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
    tool_choice: ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: Text | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    chat_template_kwargs: JsonObject | None = None


def _form_of_prompt(given: Any) -> str:
    """Text, texts, token ids or several prompts of those, by the first entry: only one of the forms is tried."""
    if not isinstance(given, list):
        return "text"
    first = given[0] if given else ""
    return "ids" if isinstance(first, int) else "several" if isinstance(first, list) else "texts"


Prompts = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[Text], Tag("texts")]
    | Annotated[list[int], Tag("ids")]
    | Annotated[list[list[int]], Tag("several")],
    Discriminator(_form_of_prompt),
]


class CompletionBody(CacheFields, CompletionFields, PredictionFields, FormFields):
    """The body of /v1/completions."""

    table: ClassVar[Fields] = fields.COMPLETIONS

    model: Text
    prompt: Prompts
    max_tokens: Count | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
