"""The bodies of Anthropic's Messages API, as far as they are served.

Types are strict: ``"5"`` is no number. A field that is not here is refused: by name and with the reason when the vendor
knows it (``UNSERVED``). A string in place of a list of blocks is one text block, as the vendor has it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from foreword.server.json_types import JsonObject, Text

MAX_MESSAGES = 20_000  # each takes some microseconds to read
MAX_TOOLS = 10_000

UNSERVED = {
    "allowed_callers": "tools are called by the model alone",
    "container": "there is no code execution here",
    "context_management": "the conversation is taken as it is sent",
    "defer_loading": "every tool stands in the prompt",
    "eager_input_streaming": "a tool's input comes as the model writes it",
    "inference_geo": "the model runs where this server runs",
    "input_examples": "put examples into the tool's description",
    "mcp_servers": "tools are run by the client",
    "output_config": "effort and output formats are not available",
    "strict": "a tool's input is not forced to follow its schema",
    "user_profile_id": "there are no user profiles",
    "workspace_id": "there are no workspaces; the API key says who asks",
}
"""Fields that the vendor knows and this server refuses, and why."""


def _as_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CacheControl(_Body):
    """A mark: the prompt up to the end of this block is to be kept."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class TextBlock(_Body):
    """Text. There are no citations; the null that clients send back with an answer is taken."""

    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None
    citations: None = None


class DirectCaller(_Body):
    """Who used a tool: the model itself, the only caller there is."""

    type: Literal["direct"]


class ToolUseBlock(_Body):
    """A use of a tool, by the assistant."""

    type: Literal["tool_use"]
    id: Text = Field(min_length=1)
    name: Text = Field(min_length=1)
    input: JsonObject
    cache_control: CacheControl | None = None
    caller: DirectCaller | None = None
    toolset_name: None = None


TextBlocks = Annotated[list[TextBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock])]


class ToolResultBlock(_Body):
    """What a tool gave back, to the use with this id. Of an error the model is told by the word "Error:" before it."""

    type: Literal["tool_result"]
    tool_use_id: Text = Field(min_length=1)
    content: TextBlocks = []
    is_error: bool = False
    cache_control: CacheControl | None = None
    toolset_name: None = None


ContentBlock = Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]
ContentBlocks = Annotated[list[ContentBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[ContentBlock])]


class MessageParam(_Body):
    """One turn, or a part of one: turns of one role that follow each other are joined."""

    role: Literal["user", "assistant", "system"]
    content: ContentBlocks


class Tool(_Body):
    """A tool that the client runs. The vendor's own tools (web search, code execution and so on) are not served."""

    type: Literal["custom"] | None = None
    name: Text = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: Text = ""
    input_schema: JsonObject
    cache_control: CacheControl | None = None


class ToolChoice(_Body):
    """``auto``: the model decides. ``none``: whatever it writes is text. It cannot be forced to use a tool."""

    type: Literal["auto", "none"]
    disable_parallel_tool_use: bool = False


class Thinking(_Body):
    """Thinking is not served apart from the text; it can only be said to be off."""

    type: Literal["disabled"]


class Diagnostics(_Body):
    """Asks why the prompt of an earlier answer could not be reused; null for a first turn."""

    previous_message_id: Text | None = None


class Metadata(_Body):
    """What the client says about its user; it changes nothing."""

    user_id: Text | None = None


class CountTokensBody(_Body):
    """POST /v1/messages/count_tokens: the part of a request that makes its prompt."""

    model: Text = Field(min_length=1)
    messages: list[MessageParam] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: TextBlocks = []
    tools: list[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    cache_control: CacheControl | None = None
    thinking: Thinking | None = None
    speed: Literal["standard"] | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages."""

    max_tokens: int = Field(ge=0)
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0)
    stop_sequences: list[Text] = []
    diagnostics: Diagnostics | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"
