"""The body of OpenAI's Responses endpoint, as far as it is honoured. What becomes of other fields: ``fields.py``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from foreword.server.body import Body, Fields
from foreword.server.json_types import JsonObject, Text
from foreword.server.openai import fields
from foreword.server.openai.formats import ResponseToolChoice, TextFormats
from foreword.server.openai.schema import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Breakpoint,
    CacheFields,
    Count,
    MediaPart,
    RefusalPart,
    SamplingFields,
)


class InputText(Body):
    """A text in a message; answers may be sent back as they came."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    prompt_cache_breakpoint: Breakpoint | None = None


class InputMedia(MediaPart):
    """The same in this endpoint."""

    type: Literal["input_image", "input_file", "input_audio"]  # type: ignore[assignment]


Content = Text | list[Annotated[InputText | RefusalPart | InputMedia, Field(discriminator="type")]]


class InputMessage(Body):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCallItem(Body):
    """A call in the history; of a tool of a namespace with that."""

    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text
    namespace: Text | None = None


class FunctionCallOutput(Body):
    """What a call gave."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Text
    output: Content
    name: Text | None = None
    namespace: Text | None = None


class CustomToolCallItem(Body):
    """A call of a tool that takes a text, made by another model."""

    type: Literal["custom_tool_call"]
    call_id: Text
    name: Text
    input: Text
    namespace: Text | None = None


class ReasoningItem(Body):
    """What a model thought before."""

    type: Literal["reasoning"]
    summary: list[JsonObject] = Field([])
    content: list[JsonObject] | None = None
    encrypted_content: Text | None = None


def _kind(item: Any) -> str:
    """An item without a type is a message."""
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return str(kind or "message")


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[FunctionCallOutput, Tag("custom_tool_call_output")]
    | Annotated[CustomToolCallItem, Tag("custom_tool_call")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class ResponseTool(Body):
    """A function that the model is told of."""

    type: Literal["function"]
    name: Text
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class NamespaceTool(Body):
    """A group of functions; a call of one names it."""

    type: Literal["namespace"]
    name: Text
    description: Text | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)]


AnyTool = Annotated[ResponseTool | NamespaceTool, Field(discriminator="type")]


class Reasoning(Body):
    """``reasoning``: its effort is handed to the chat template, which may have a switch for it."""

    effort: Text | None = None


class TextConfig(Body):
    """``text``: the form of what the answer says."""

    format: TextFormats | None = None


class ResponseStreamOptions(Body):
    """``stream_options``: none is honoured."""


class ResponseBody(CacheFields, SamplingFields):
    """The body of /v1/responses. What it says of the client is said again in the answer."""

    table: ClassVar[Fields] = fields.RESPONSES

    model: Text
    input: Text | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: Text | None = None
    previous_response_id: Text | None = None
    max_output_tokens: Count | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Text] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    store: bool | None = None
    tools: Annotated[list[AnyTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    user: Text | None = None
    metadata: JsonObject | None = None
    safety_identifier: Text | None = None
    service_tier: Text | None = None
