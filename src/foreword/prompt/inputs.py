"""The forms in which a prompt may be given."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foreword.config import unknown_option
from foreword.errors import PromptError
from foreword.events import ConversationState
from foreword.tokens import pack_tokens

KEYS = ["prompt", "prompt_token_ids", "cache_salt", "cache_conversation"]


@dataclass(frozen=True)
class Prompt:
    """A prompt as text, packed tokens or both (then the tokens count); its cache salt; whether its conversation goes on."""

    text: str | None
    tokens: bytes | None
    cache_salt: str | None = None
    conversation: ConversationState | None = None


PromptInput = str | Mapping[str, Any] | Prompt


def parse_prompt(given: PromptInput) -> Prompt:
    """Check a prompt in any of its forms; PromptError says what is wrong with it."""
    if isinstance(given, Prompt):
        return given
    if isinstance(given, str):
        given = {"prompt": given}
    if not isinstance(given, Mapping):
        raise PromptError(f"A prompt is a string or a dict with 'prompt' or 'prompt_token_ids', not {type(given).__name__}.")
    for key in given:
        if key not in KEYS:
            raise PromptError(unknown_option(str(key), KEYS, "key of a prompt"))
    text, ids, salt = given.get("prompt"), given.get("prompt_token_ids"), given.get("cache_salt")
    if text is None and ids is None:
        raise PromptError("A prompt needs 'prompt' (text) or 'prompt_token_ids'; it has neither.")
    if text is not None and not isinstance(text, str):
        raise PromptError(f"'prompt' is text, not {type(text).__name__}.")
    if ids is not None and not isinstance(ids, Iterable):
        raise PromptError(f"'prompt_token_ids' is a list of token ids, not {type(ids).__name__}.")
    if ids is None and not text:
        raise PromptError("The prompt is empty; it needs at least one token.")
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise PromptError(f"'cache_salt' is {salt!r}; it must be a non-empty string, or left out.")
    conversation = parse_conversation(given.get("cache_conversation"))
    return Prompt(text, None if ids is None else pack_tokens(list(ids)), salt, conversation)


def parse_conversation(said: str | None) -> ConversationState | None:
    """Whether a conversation goes on, in a client's word for it; PromptError for any other."""
    if said is None or said in list(ConversationState):
        return None if said is None else ConversationState(said)
    raise PromptError(f"'cache_conversation' is {said!r}; it must be {' or '.join(map(repr, map(str, ConversationState)))}.")
