"""What is remembered of late, tenant by tenant: so that a request can be compared with an earlier one, or go on from it."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from foreword.prompt.chat import SYSTEM_ROLES, ChatPrompt, Message
from foreword.serving.neutral import Changed, Diagnosis, NeutralRequest, Usage
from foreword.tokens import TOKEN_BYTES, common_with_edge

MAX_BYTES = 256 * 2**20
"""Memory for each Recent, by the size its entries are said to have; the oldest go first."""

V = TypeVar("V")


class Recent(Generic[V]):
    """Entries by tenant and id, bounded by number and by memory; each tenant sees its own."""

    def __init__(self, limit: int):
        self._limit = limit
        self._entries: OrderedDict[tuple[str, str], tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def add(self, tenant: str, name: str, entry: V, size: int) -> None:
        """Remember an entry of about ``size`` bytes; the oldest go where there are too many."""
        self.remove(tenant, name)
        self._entries[tenant, name] = (entry, size)
        self._bytes += size
        while len(self._entries) > self._limit or self._bytes > MAX_BYTES:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._bytes -= oldest

    def get(self, tenant: str, name: str) -> V | None:
        """An entry of this tenant; None if there is none, or it is forgotten."""
        found = self._entries.get((tenant, name))
        return None if found is None else found[0]

    def remove(self, tenant: str, name: str) -> bool:
        """Forget an entry; whether there was one."""
        found = self._entries.pop((tenant, name), None)
        if found is None:
            return False
        self._bytes -= found[1]
        return True


@dataclass(frozen=True, slots=True)
class RecentRequest:
    """A request that was answered, and its prompt's packed tokens."""

    request: NeutralRequest
    tokens: bytes


def diagnose(request: NeutralRequest, tokens: bytes, usage: Usage, earlier: RecentRequest | None) -> Diagnosis:
    """Why a request did, or did not, reuse an earlier one's prompt. ``tokens`` is its prompt, packed."""
    if earlier is None:
        return Diagnosis(Changed.NOT_FOUND)
    before, length, earlier_length = earlier.request, len(tokens) // TOKEN_BYTES, len(earlier.tokens) // TOKEN_BYTES
    if before.model != request.model:
        return Diagnosis(Changed.MODEL, "", length, min(length, earlier_length))
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
    for name in sorted({*before.settings, *now.settings}):
        if before.settings.get(name) != now.settings.get(name):
            return Changed.SETTINGS, name
    if before.cache.salt != now.cache.salt:
        return Changed.SETTINGS, "cache_salt"
    if conversations:
        assert isinstance(old, ChatPrompt)
        assert isinstance(new, ChatPrompt)
        goes_on = new.messages[: len(old.messages)] == old.messages
    else:
        goes_on = tokens_continue
    return (Changed.NOTHING if goes_on else Changed.MESSAGES), ""


def _system(conversation: ChatPrompt) -> list[Message]:
    system = []
    for message in conversation.messages:
        if message.role not in SYSTEM_ROLES:
            break
        system.append(message)
    return system
