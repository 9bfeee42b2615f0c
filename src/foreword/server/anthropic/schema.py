"""The bodies of Anthropic's Messages API, as far as they are honoured. What becomes of other fields: ``fields.py``.

Types are strict: ``"5"`` is no number. A string in place of a list of blocks is one text block, as the vendor has it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from foreword.sampling_params import MAX_STOP_CHARACTERS, MAX_STOPS
from foreword.server.anthropic import fields
from foreword.server.body import Body, Fields, TopBody
from foreword.server.json_types import JsonObject, Text

MAX_MESSAGES = 10_000
MAX_TOOLS = 5_000


def _as_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class CacheControl(Body):
    """A mark: the prompt up to the end of this block is to be kept."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class RequestCacheControl(CacheControl):
    """The mark of a whole body: on the last block. It may say whether the conversation goes on; then that is all it says."""

    conversation: Literal["goes_on", "ended"] | None = None


class TextBlock(Body):
    """Text."""

    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None


class MediaBlock(Body):
    """An image or a document. Whatever it says of itself, the model reads text: the server refuses it or leaves it out."""

    model_config = ConfigDict(extra="allow")

    type: Literal["image", "document"]
    cache_control: CacheControl | None = None


class ThinkingBlock(Body):
    """What a model thought before."""

    type: Literal["thinking"]
    thinking: Text
    signature: Text | None = None


class RedactedThinkingBlock(Body):
    """What another model thought before, for its server to read."""

    type: Literal["redacted_thinking"]
    data: Text


class ToolUseBlock(Body):
    """A use of a tool, by the assistant."""

    type: Literal["tool_use"]
    id: Text = Field(min_length=1)
    name: Text = Field(min_length=1)
    input: JsonObject
    cache_control: CacheControl | None = None


ResultBlock = Annotated[TextBlock | MediaBlock, Field(discriminator="type")]
ResultBlocks = Annotated[list[ResultBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[ResultBlock])]
TextBlocks = Annotated[list[TextBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock])]


class ToolResultBlock(Body):
    """What a tool gave back, to the use with this id. Of an error the model is told by the word "Error:" before it."""

    type: Literal["tool_result"]
    tool_use_id: Text = Field(min_length=1)
    content: ResultBlocks = Field([])
    is_error: bool = False
    cache_control: CacheControl | None = None


ContentBlock = Annotated[
    TextBlock | MediaBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock,
    Field(discriminator="type"),
]
ContentBlocks = Annotated[list[ContentBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[ContentBlock])]


class MessageParam(Body):
    """One turn, or a part of one: turns of one role that follow each other are joined."""

    role: Literal["user", "assistant", "system"]
    content: ContentBlocks


class Tool(Body):
    """A tool that the client runs; examples of its input are told to the model behind its description."""

    type: Literal["custom"] | None = None
    name: Text = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: Text = ""
    input_schema: JsonObject
    input_examples: list[JsonObject] = Field([])
    strict: bool = False
    cache_control: CacheControl | None = None


class ToolChoice(Body):
    """``auto``: the model decides. ``none``: what it writes is text. ``any``: it uses a tool; ``tool``: the one named."""

    type: Literal["auto", "none", "any", "tool"]
    name: Text | None = None
    disable_parallel_tool_use: bool = False


class Thinking(Body):
    """``thinking``. Whether a model thinks, and how long, is its own and its chat template's."""

    type: Literal["disabled", "enabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: Text | None = None


class OutputFormat(Body):
    """JSON that a schema takes."""

    type: Literal["json_schema"]
    schema_: JsonObject | bool = Field(alias="schema")


class OutputConfig(Body):
    """``output_config``: a wish how much is to be thought has been passed over."""

    format: OutputFormat | None = None


class Diagnostics(Body):
    """Asks why the prompt of an earlier answer could not be reused; null for a first turn."""

    previous_message_id: Text | None = None


class Thread(Body):
    """Asks that the server hold the conversation, or go on with one that it holds: refused, in a way that clients know."""

    type: Literal["create", "continue"]
    previous_message_id: Text | None = None


class CountTokensBody(TopBody):
    """POST /v1/messages/count_tokens: the part of a request that makes its prompt."""

    table: ClassVar[Fields] = fields.COUNT_TOKENS

    model: Text = Field(min_length=1)
    messages: list[MessageParam] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: TextBlocks = Field([])
    tools: list[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    cache_control: RequestCacheControl | None = None
    cache_conversation: Literal["goes_on", "ended"] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    thread: Thread | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages."""

    table: ClassVar[Fields] = fields.MESSAGES

    max_tokens: int = Field(ge=0)
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0)
    stop_sequences: list[Annotated[Text, Field(max_length=MAX_STOP_CHARACTERS)]] = Field([], max_length=MAX_STOPS)
    diagnostics: Diagnostics | None = None
