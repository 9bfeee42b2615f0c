"""Why a prompt could not reuse that of an earlier answer."""

from dataclasses import dataclass

from foreword.prompt.chat import SYSTEM_ROLES, ChatPrompt, Message
from foreword.serving.neutral import Changed, Diagnosis, NeutralRequest, TokenUsage
from foreword.tokens import TOKEN_BYTES, common_with_edge

COMPACTED = "context"
"""What is named as the setting of messages that stand in the place of a longer conversation."""


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request that was answered, and its prompt's packed tokens."""

    request: NeutralRequest
    tokens: bytes


def diagnose(request: NeutralRequest, tokens: bytes, usage: TokenUsage, earlier: AnsweredRequest | None) -> Diagnosis:
    """Why a request did, or did not, reuse an earlier one's prompt. ``tokens`` is its prompt, packed.

    The names by which both asked for the model say nothing: they are names of one.
    """
    if earlier is None:
        return Diagnosis(Changed.NOT_FOUND)
    before, length, earlier_length = earlier.request, len(tokens) // TOKEN_BYTES, len(earlier.tokens) // TOKEN_BYTES
    common = common_with_edge(tokens, 0, memoryview(earlier.tokens))
    changed, setting = _first_change(before, request, common == earlier_length)
    if changed is Changed.NOTHING:
        if usage.reused >= min(common, length - 1):
            return Diagnosis(changed, reusable_tokens=common)
        return Diagnosis(Changed.UNKNOWN, "", length - usage.reused, common - usage.reused, common)
    return Diagnosis(changed, setting, length - common, min(length, earlier_length) - common, common)


def _first_change(before: NeutralRequest, now: NeutralRequest, tokens_continue: bool) -> tuple[Changed, str]:
    """The first difference in the order of the prefix, and the setting's name if it is one."""
    old, new = before.prompt, now.prompt
    conversations = isinstance(old, ChatPrompt) and isinstance(new, ChatPrompt)
    if isinstance(old, ChatPrompt) and isinstance(new, ChatPrompt):
        if old.tools != new.tools:
            return Changed.TOOLS, ""
        if _system(old) != _system(new):
            return Changed.SYSTEM, ""
    for name in () if tokens_continue else sorted({*before.settings, *now.settings}):
        if before.settings.get(name) != now.settings.get(name):
            return Changed.SETTINGS, name
    if conversations:
        assert isinstance(old, ChatPrompt)
        assert isinstance(new, ChatPrompt)
        goes_on = new.messages[: len(old.messages)] == old.messages
        compacted = not goes_on and _is_compacted(old, new)
    else:
        goes_on, compacted = tokens_continue, False
    return (Changed.NOTHING if goes_on else Changed.MESSAGES), COMPACTED if compacted else ""


def _is_compacted(old: ChatPrompt, new: ChatPrompt) -> bool:
    """Whether a shorter conversation stands in the place of a longer one from its first turn on."""
    first = len(_system(old))
    return len(new.messages) < len(old.messages) and new.messages[first : first + 1] != old.messages[first : first + 1]


def _system(conversation: ChatPrompt) -> list[Message]:
    system = []
    for message in conversation.messages:
        if message.role not in SYSTEM_ROLES:
            break
        system.append(message)
    return system
