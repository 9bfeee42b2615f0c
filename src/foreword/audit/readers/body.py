"""Which of the known bodies a request has, and what it says of caching."""

from collections.abc import Callable, Iterator

from foreword.audit.readers import anthropic_messages, bedrock_converse, gemini_contents, openai_chat, openai_responses
from foreword.audit.readers.pieces import Body
from foreword.audit.request import LoggedPiece
from foreword.prompt.vendor_forms import ttl

READERS: dict[str, Callable[[Body], Iterator[LoggedPiece]]] = {
    "anthropic": anthropic_messages.read,
    "chat": openai_chat.read,
    "responses": openai_responses.read,
    "gemini": gemini_contents.read,
    "converse": bedrock_converse.read,
}
KINDS = {
    "anthropic": "Anthropic messages",
    "chat": "OpenAI chat completions",
    "responses": "OpenAI responses",
    "gemini": "Gemini generateContent",
    "converse": "Bedrock Converse",
}


def dialect(body: Body) -> str | None:
    """The form of a body, a key of KINDS; None when the body is no request of any of them."""
    if "contents" in body and "messages" not in body:
        return "gemini" if gemini_contents.is_body(body) else None
    if "input" in body and "messages" not in body:
        return "responses" if isinstance(body["input"], str | list) and _is_responses(body) else None
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    if bedrock_converse.is_body(body):
        return "converse"
    tools = body.get("tools")
    first = tools[0] if isinstance(tools, list) and tools and isinstance(tools[0], dict) else {}
    if "system" in body or "input_schema" in first or "anthropic_version" in body:
        return "anthropic"
    if any(message.get("role") in ("system", "developer", "tool") for message in messages):
        return "chat"
    return "anthropic" if "claude" in str(body.get("model", "")).lower() and "function" not in first else "chat"


def _is_responses(body: Body) -> bool:
    """Embeddings and moderations have an ``input`` as well, of plain texts."""
    given = body["input"]
    if isinstance(given, str):
        return "encoding_format" not in body and "embed" not in str(body.get("model", ""))
    return all(isinstance(item, dict) for item in given)


def missing_role(body: Body, form: str) -> int | None:
    """The index of the first message that does not say whose it is; Gemini and items of other kinds need not."""
    if form in ("gemini", "responses"):
        return None
    return next((i for i, message in enumerate(body["messages"]) if not isinstance(message.get("role"), str)), None)


def read_pieces(body: Body, form: str) -> tuple[LoggedPiece, ...]:
    """The prompt of a body of that form."""
    return tuple(READERS[form](body))


def marked_only(body: Body, form: str, model: str, provider: str) -> bool:
    """Whether nothing but what is marked is cached: Anthropic's models, Bedrock's, and OpenAI's explicit mode; never by
    Foreword."""
    if provider == "foreword":
        return False
    options = body.get("prompt_cache_options")
    if isinstance(options, dict):
        return options.get("mode") == "explicit"
    return form in ("anthropic", "converse") or "claude" in model.lower()


def lifetime(body: Body) -> float | None:
    """Seconds that the request asks its automatically cached prefix to live; None when it does not say."""
    options = body.get("prompt_cache_options")
    asked = options.get("ttl") if isinstance(options, dict) else body.get("prompt_cache_retention")
    return ttl.seconds(asked)
