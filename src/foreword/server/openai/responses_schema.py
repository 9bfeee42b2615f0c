"""The body of OpenAI's Responses endpoint, as far as it is served."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foreword.server.json_types import JsonObject, Text
from foreword.server.openai.schema import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Body,
    Breakpoint,
    CacheFields,
    ClientFields,
    Count,
    TextFormat,
)


class InputText(Body):
    """A text in a message; answers may be sent back as they came."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    prompt_cache_breakpoint: Breakpoint | None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)
    logprobs: list[Any] | None = None


class InputMessage(Body):
    """A message; ``id`` and ``status`` are those of an answer that is sent back."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | list[InputText]
    id: Text | None = None
    status: Text | None = None
    phase: None = None


class FunctionCallItem(Body):
    """A call in the history."""

    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text
    id: Text | None = None
    status: Text | None = None


class FunctionCallOutput(Body):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: Text
    output: Text | list[InputText]
    id: Text | None = None
    status: Text | None = None


def _kind(item: Any) -> str:
    """An item without a type is a message."""
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", "message")
    return str(kind)


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")],
    Discriminator(_kind),
]


class ResponseTool(Body):
    """A function that the model is told of."""

    type: Literal["function"]
    name: Text
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class TextConfig(Body):
    """``text``: plain text is all there is."""

    format: TextFormat | None = None


class ResponseStreamOptions(Body):
    """``stream_options``. There is no obfuscation to switch off."""

    include_obfuscation: Literal[False] | None = None


class ResponseBody(CacheFields, ClientFields):
    """The body of /v1/responses."""

    model: Text
    input: Text | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: Text | None = None
    previous_response_id: Text | None = None
    max_output_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    store: bool | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    truncation: Literal["disabled"] | None = None
