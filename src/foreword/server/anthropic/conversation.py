"""The prompt of an Anthropic body: its conversation, and where its marks stand."""

from foreword.errors import PromptError
from foreword.prompt.chat import ChatPrompt
from foreword.prompt.vendor_forms.anthropic import mark_ttl, read_prompt
from foreword.prompt.vendor_forms.tools import as_function
from foreword.server.anthropic.marks import resolve_marks
from foreword.server.anthropic.schema import CountTokensBody


def conversation(body: CountTokensBody) -> ChatPrompt:
    """The prompt of a body. PromptError for what no model could be given, or for marks against the rules."""
    if body.messages[-1].role == "assistant":
        raise PromptError(
            "messages: the last message has the role 'assistant'; this server cannot go on with a begun answer. End with a "
            "message of the user."
        )
    given = body.model_dump(include={"tools", "system", "messages", "cache_control"}, exclude_unset=True)
    messages, places = read_prompt(given)
    return ChatPrompt(
        messages=messages,
        tools=tuple(map(as_function, given.get("tools", ()))),
        marks=resolve_marks(places, mark_ttl(given)),
    )
