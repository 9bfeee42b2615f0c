"""Why a request hit or missed: one structured record, in tokens and in words.

The cache's ledger says where the hit ended and what the nearest cached prefix went on with. Here that prefix is looked for
among the requests of late, both texts are decoded around the place, and what separates them gets its name.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Protocol

from foreword.account import Account, MissReason
from foreword.events import RequestFinished
from foreword.observe.alignment import Meeting, meet
from foreword.observe.recent import Neighbours, OwnRequests, RecentRequests, came_before, visible_tokens
from foreword.observe.reordered import reordering
from foreword.observe.shape import PromptShape, same_content
from foreword.prompt.texts import common_prefix
from foreword.prompt.volatile import differing_value
from foreword.tokens import TOKEN_BYTES, shared_tokens, unpack_tokens

IDENTITY = ("model", "adapter", "tenant", "cache_salt")  # the parts of RequestFinished.identity
AROUND = 32  # tokens shown on either side of the place
COMPARED = 8  # earlier requests a prompt is compared with
SAME_TEXT = 48  # characters that two texts share beyond their first differing token if they are one text


class Reason(StrEnum):
    """Why a hit ended where it ended. The first nine are MissReason's; the others say more.

    ``namespace_differs``: the prefix is cached for another tenant or cache salt. For operators alone.
    ``adapter_or_weights_changed``: the prefix is cached for another model or adapter. For operators alone.
    ``volatile_value``: a date, time, UUID, nonce or counter that is another one each time.
    ``tools_reordered``, ``json_reordered``: the same tools or JSON, written in another order.
    ``template_rerender``: the same conversation, but the chat template wrote its history otherwise than before.
    ``below_minimum``: the prompt is shorter than the shortest one that is cached.
    ``not_admitted``: the request ended before its prompt was looked up.
    """

    COMPLETE = "complete"
    FIRST_SEEN = "first_seen"
    DIVERGED = "diverged"
    EVICTED = "evicted"
    DISABLED = "disabled"
    STORED_CORRUPT = "stored_corrupt"
    STORED_OTHER_IDENTITY = "stored_other_identity"
    LOAD_FAILED = "load_failed"
    LOAD_SLOWER = "load_slower"
    NAMESPACE_DIFFERS = "namespace_differs"
    VOLATILE_VALUE = "volatile_value"
    TOOLS_REORDERED = "tools_reordered"
    JSON_REORDERED = "json_reordered"
    TEMPLATE_RERENDER = "template_rerender"
    ADAPTER_OR_WEIGHTS_CHANGED = "adapter_or_weights_changed"
    BELOW_MINIMUM = "below_minimum"
    NOT_ADMITTED = "not_admitted"


COARSE = (Reason.DIVERGED, Reason.FIRST_SEEN)
"""Reasons of the ledger that texts and other namespaces may say more about."""

STORES = {
    MissReason.STORED_CORRUPT: "a store gave what had not been stored; it is computed and stored anew",
    MissReason.STORED_OTHER_IDENTITY: "a store has it of another model, or of other settings",
    MissReason.LOAD_FAILED: "a store had it, and it did not come",
    MissReason.LOAD_SLOWER: "a store has it, and computing it takes less time than loading it",
}
"""What the reasons mean that have to do with a store."""


class PromptReader(Protocol):
    """How the caller reads prompts: the tokenizer's decoding, and what a request's prompt was made of, if it knows."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""
        ...

    def shape(self, request_id: str) -> PromptShape | None:
        """The pieces of a request's prompt; None when only its tokens are known."""
        ...


@dataclass(frozen=True, slots=True)
class TokenReader:
    """A reader that knows a tokenizer and nothing of messages."""

    decoder: Callable[[list[int]], str]

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""
        return self.decoder(token_ids)

    def shape(self, request_id: str) -> None:
        """Prompts are only tokens here."""
        del request_id


@dataclass(frozen=True, slots=True)
class Nearest:
    """The request whose prompt or answer is the nearest cached prefix.

    alike_after
        Tokens that are the same in both again after the difference: what would be hits without it.
    """

    request_id: str
    shared_tokens: int
    in_answer: bool
    alike_after: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """What the request lacks and was evicted.

    at, pressure
        For operators alone: when, in seconds of the engine's clock, and (request id, prompt tokens) of those that were
        admitted then or were generating. None and empty for others: it tells who else was busy.
    """

    lost_tokens: int
    at: float | None = None
    pressure: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request hit or missed, within its own namespace.

    position
        Where the hit ended: leading tokens that were cached or in flight.
    place
        The same in the structure of the messages ("system, block 2"); empty if that is not known.
    shared_text, old_text, new_text
        The end of the shared text, and how the nearest cached prefix and the prompt go on; empty without a reader.
    detail
        What is special about it, in words, without text of the prompt: "a time", "at least 64 tokens are cached".
    elsewhere
        For operators alone: another namespace has a longer prefix, and this is the first part in which it is another one
        (model, adapter, tenant or cache_salt). Empty if none was found.
    """

    request_id: str
    tenant: str | None
    finished: float
    outcome: str
    account: Account
    reason: Reason
    position: int
    place: str
    detail: str
    nearest: Nearest | None
    eviction: Eviction | None
    shared_text: str
    old_text: str
    new_text: str
    elsewhere: str = ""

    @property
    def full_reason(self) -> Reason:
        """The reason, other namespaces looked into: for operators alone."""
        if not self.elsewhere:
            return self.reason
        changed = self.elsewhere in ("model", "adapter")
        return Reason.ADAPTER_OR_WEIGHTS_CHANGED if changed else Reason.NAMESPACE_DIFFERS


def explain_to_operators(
    request: RequestFinished, recent: RecentRequests, minimum_tokens: int, reader: PromptReader | None
) -> Explanation:
    """Explain a finished request by all requests of late, whoever's they are."""
    found = _explain(request, recent, minimum_tokens, reader)
    elsewhere = ""
    if ledger_reason(request, minimum_tokens) in COARSE:
        elsewhere = _in_other_namespace(request, recent)
    return replace(found, elsewhere=elsewhere, eviction=_with_pressure(found.eviction, request, recent))


def explain_to_owner(
    request: RequestFinished, recent: RecentRequests, minimum_tokens: int, reader: PromptReader | None
) -> Explanation:
    """Explain a finished request to who asked it: nothing in it depends on requests of others in namespaces of its own."""
    if request.identity[IDENTITY.index("tenant")] == request.tenant:  # the namespace is the tenant's
        return _explain(request, recent, minimum_tokens, reader)
    end = request.account.hit_end  # what the nearest cached prefix goes on with may be another tenant's
    account = request.account if end is None else replace(request.account, hit_end=replace(end, nearest=b""))
    asked = replace(request, account=account)
    return _explain(asked, OwnRequests(recent, request), minimum_tokens, reader)


def _settled(shape: PromptShape | None) -> Iterator[str]:
    """What was done with a prompt before it was rendered."""
    if shape is not None and shape.left_out:
        yield f"left out of the prompt: {', '.join(shape.left_out)}"
    if shape is not None and shape.moved:
        yield f"moved from the system prompt into the first turn: {', '.join(shape.moved)}"


def _explain(request: RequestFinished, recent: Neighbours, minimum_tokens: int, reader: PromptReader | None) -> Explanation:
    """Explain a finished request by the requests of late. Without a reader: no texts, and only what tokens tell."""
    position = request.account.position
    found = _nearest(request, recent)
    old = found[0] if found else None
    reason, detail = _by_ledger(request, minimum_tokens)
    shape = reader.shape(request.request_id) if reader else None
    texts = _texts(request, old, position, reader.decode) if reader else ("", "", "")
    if reader is not None and old is not None and reason in COARSE:
        reason, detail = _compare(request, old, shape, reader) or (reason, detail)
    return Explanation(
        request_id=request.request_id,
        tenant=request.tenant,
        finished=request.finished,
        outcome=request.outcome,
        account=request.account,
        reason=reason,
        position=position,
        place=shape.label_at(position) if shape else "",
        detail="; ".join(filter(None, (detail, *_settled(shape)))),
        nearest=_described(request, found),
        eviction=_eviction(request),
        shared_text=texts[0],
        old_text=texts[1],
        new_text=texts[2],
    )


def ledger_reason(request: RequestFinished, minimum_tokens: int) -> Reason:
    """What can be said without looking at any text."""
    return _by_ledger(request, minimum_tokens)[0]


def _by_ledger(request: RequestFinished, minimum_tokens: int) -> tuple[Reason, str]:
    end = request.account.hit_end
    if end is None:
        return Reason.NOT_ADMITTED, ""
    if end.reason is MissReason.DISABLED and request.account.prompt_tokens < minimum_tokens:
        return Reason.BELOW_MINIMUM, f"at least {minimum_tokens} tokens are cached"
    return Reason(end.reason), STORES.get(end.reason, "")


def _next_tokens(request: RequestFinished) -> bytes:
    """With which packed tokens the nearest cached prefix goes on where the hit ended."""
    return b"" if request.account.hit_end is None else request.account.hit_end.nearest


def _in_other_namespace(request: RequestFinished, recent: RecentRequests) -> str:
    """The first part in which a namespace with a longer prefix is another one; empty if there is none."""
    found = recent.elsewhere(request)
    if found is None or found[1] <= max(request.account.position, AROUND):
        return ""
    pairs = zip(IDENTITY, request.identity, found[0].identity, strict=True)
    return next((name for name, ours, theirs in pairs if ours != theirs), "model")


def _nearest(request: RequestFinished, recent: Neighbours) -> tuple[RequestFinished, Meeting | None] | None:
    """The request that left the nearest cached prefix, and where the two go on alike.

    It is the one that goes on as the ledger noted. Where no cached prefix shares a token, one is looked for that begins
    otherwise and goes on alike: a value at the very head of the prompts keeps them apart.
    """
    end, at = request.account.hit_end, request.account.position * TOKEN_BYTES
    if end is None:
        return None
    if end.reason is MissReason.DIVERGED:
        wanted = request.tokens[:at] + end.nearest
        near = (other for other in recent.nearest(request, wanted) if visible_tokens(other, request).startswith(wanted))
        return _most_alike(request, islice(near, COMPARED), request.account.position)
    if end.reason is MissReason.FIRST_SEEN and not at:
        earlier = (other for other in recent.newest() if _is_neighbour(other, request))
        apart = (
            other for other in earlier if came_before(other, request) and not shared_tokens(request.tokens, other.tokens)
        )
        found = _most_alike(request, islice(apart, COMPARED), 0)
        return found if found and found[1] else None
    return None


def _is_neighbour(other: RequestFinished, request: RequestFinished) -> bool:
    return other.namespace == request.namespace and other.request_id != request.request_id


def _most_alike(
    request: RequestFinished, others: Iterable[RequestFinished], at: int
) -> tuple[RequestFinished, Meeting | None] | None:
    """Of requests that part from a prompt at token ``at``, the one that is most alike after it."""
    meetings = [(other, meet(visible_tokens(other, request), request.tokens, at)) for other in others]
    return max(meetings, key=lambda pair: pair[1].alike if pair[1] else 0, default=None)


def _described(request: RequestFinished, found: tuple[RequestFinished, Meeting | None] | None) -> Nearest | None:
    if found is None:
        return None
    old, meeting = found
    return Nearest(
        request_id=old.request_id,
        shared_tokens=request.account.position,
        in_answer=request.account.position * TOKEN_BYTES >= len(old.tokens),
        alike_after=meeting.alike if meeting else 0,
    )


def _eviction(request: RequestFinished) -> Eviction | None:
    end = request.account.hit_end
    return Eviction(end.lost_tokens) if end is not None and end.reason is MissReason.EVICTED else None


def _with_pressure(eviction: Eviction | None, request: RequestFinished, recent: RecentRequests) -> Eviction | None:
    """When the missing tokens went, and who was admitted or generating at that time."""
    at = None if request.account.hit_end is None else request.account.hit_end.evicted_at
    if eviction is None or at is None:
        return eviction
    there = [other for other in recent.newest() if other.admitted is not None and other.admitted <= at <= other.finished]
    admitted = [other for other in there if other.admitted == at]
    pressure = tuple((other.request_id, len(other.tokens) // TOKEN_BYTES) for other in admitted or there)
    return replace(eviction, at=at, pressure=pressure)


def _texts(
    request: RequestFinished, old: RequestFinished | None, at: int, decode: Callable[[list[int]], str]
) -> tuple[str, str, str]:
    """The end of what is shared, and what comes after it in the old prompt and in the new one."""
    start = max(0, at - AROUND)
    shared = decode(_ids(request.tokens, start, at))
    old_text = decode(_ids(visible_tokens(old, request), at, at + AROUND) if old else unpack_tokens(_next_tokens(request)))
    return shared, old_text, decode(_ids(request.tokens, at, at + AROUND))


def _compare(
    request: RequestFinished,
    old: RequestFinished,
    shape: PromptShape | None,
    reader: PromptReader,
) -> tuple[Reason, str] | None:
    """What separates a prompt from the nearest one; None if it is just another text."""
    old_text = reader.decode(unpack_tokens(visible_tokens(old, request)))
    new_text = reader.decode(unpack_tokens(request.tokens))
    at = common_prefix(old_text, new_text)
    if at >= len(reader.decode(_ids(request.tokens, 0, request.account.position))) + SAME_TEXT:
        return Reason.TEMPLATE_RERENDER, "the same text in other tokens"
    how = reordering(old_text, new_text, at)
    if how is not None:
        return (Reason.TOOLS_REORDERED if how == "tools" else Reason.JSON_REORDERED), ""
    value = differing_value(old_text, new_text)
    if value is not None:
        return Reason.VOLATILE_VALUE, value[1].kind
    if shape is not None:
        seen = visible_tokens(old, request)
        answer = reader.decode(unpack_tokens(seen[len(old.tokens) :]))
        if same_content(shape, reader.shape(old.request_id), request.account.position, answer):
            return Reason.TEMPLATE_RERENDER, "the same messages, written otherwise"
    if _reasoning_left_out(old_text, new_text, at) or _reasoning_left_out(new_text, old_text, at):
        return Reason.TEMPLATE_RERENDER, "reasoning in the history came or went"
    return None


_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>\s*", re.DOTALL)


def _reasoning_left_out(longer: str, shorter: str, at: int) -> bool:
    """Whether one text goes on as the other does once a block of reasoning at the place where they part is taken out."""
    for block in _REASONING.finditer(longer, max(0, at - 16)):
        if block.start() > at:
            return False
        rest = longer[block.end() : block.end() + 4 * AROUND].strip()
        if rest and shorter[block.start() :].lstrip().startswith(rest[: len(shorter) - at]):
            return True
    return False


def _ids(tokens: bytes, start: int, end: int) -> list[int]:
    return unpack_tokens(tokens[start * TOKEN_BYTES : end * TOKEN_BYTES])
