"""What the cache and the engine tell an observer, and the shape of the observer.

Whoever builds a cache or an engine hands it a sink; they never know who listens.
The names follow the KV events that routers of the field already read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from foreword.account import Account


class ConversationState(StrEnum):
    """Whether a request's conversation goes on, as its client says."""

    GOES_ON = "goes_on"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class BlockStored:
    """Consecutive blocks became readable.

    ``tokens`` holds the token ids of the blocks as little-endian int32, ``start`` the position of the first of them in
    its prompt, ``blocks`` the block ids in order; the last block may be partly filled. From position ``private_from`` on
    the tokens of the prompt are ``owner``'s alone; without an owner they are everyone's in the namespace. ``parent`` is the
    block before the first of them, which has been told of; None where they begin a prompt.
    """

    namespace: bytes
    start: int
    tokens: bytes
    blocks: tuple[int, ...]
    owner: str | None = None
    private_from: int = 0
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """Blocks lost their content. ``tokens`` is how many cached tokens went with them; whose they were as in BlockStored."""

    namespace: bytes
    start: int
    tokens: int
    blocks: tuple[int, ...]
    owner: str | None = None
    private_from: int = 0


@dataclass(frozen=True, slots=True)
class BlockReused:
    """A request was admitted that need not compute some blocks: readable whole ones, from the beginning of its prompt.

    ``blocks`` holds their ids in order as little-endian int32: there may be thousands, at every request.
    """

    blocks: bytes


@dataclass(frozen=True, slots=True)
class AllBlocksCleared:
    """The prefix cache was reset."""


CacheEvent = BlockStored | BlockReused | BlockRemoved | AllBlocksCleared


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """A request has ended, however it ended: its tokens, its account and its times, in seconds of the engine's clock.

    namespace, identity
        The key of the tree in which the prompt was looked up, and what it is made of: model, adapter, tenant, cache salt.
    tokens, generated
        The prompt, and what was generated after it: token ids as little-endian int32.
    owner, private_from
        From position ``private_from`` on the prompt and what was generated are ``owner``'s alone within the namespace;
        without an owner they are everyone's there.
    admitted
        When the cache was asked for its prefix; None if the request ended before its turn came. So with ``first_token``.
    outcome
        ``stop``, ``length``, ``abort`` or ``error``.
    account
        Where the prompt's tokens came from, and why and where the hit ended.
    conversation
        Whether it goes on, as the client says; None: it says nothing.
    """

    request_id: str
    namespace: bytes
    identity: tuple[str | None, str | None, str | None, str | None]
    tenant: str | None
    tokens: bytes
    generated: bytes
    arrival: float
    admitted: float | None
    first_token: float | None
    finished: float
    outcome: str
    account: Account
    owner: str | None = None
    private_from: int = 0
    conversation: ConversationState | None = None


@dataclass(frozen=True, slots=True)
class DraftLooked:
    """A draft was computed: ``drafted`` tokens of a request, the first of them at ``position`` of its prompt and answer.

    The first ``accepted`` of them were right.
    """

    request_id: str
    drafter: str
    position: int
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step took ``seconds``: prompt tokens [start, end) of some requests, one token each of ``generating`` others.

    Behind some of these there were ``drafts``. ``gap``: seconds since the engine's step before ended, where the event comes
    from one engine of several and its listener's clock cannot tell.
    """

    seconds: float
    spans: tuple[tuple[int, int], ...]
    generating: int
    drafts: tuple[DraftLooked, ...] = ()
    gap: float | None = None

    @property
    def generating_rows(self) -> int:
        """Tokens that were computed of those that generate, drafts included."""
        return self.generating + sum(draft.drafted for draft in self.drafts)


@dataclass(frozen=True, slots=True)
class StoreAnswered:
    """It has turned out what a store below the KV memory has of a prompt: by a look-up, a load, or as something was stored.

    It has the whole blocks of ``tokens`` (token ids as little-endian int32, from the prompt's begin) at the positions
    [start, until), and none that could be had from ``until`` on. Whose they are as in BlockStored.
    """

    namespace: bytes
    tokens: bytes
    start: int
    until: int
    owner: str | None = None
    private_from: int = 0


Event = CacheEvent | RequestFinished | StepFinished | StoreAnswered
EventSink = Callable[[Event], None]
CacheEventSink = Callable[[CacheEvent], None]


class EventRelay:
    """A sink that passes events on to others, which come and go. It is false while there are none.

    What one of them raises reaches neither the others nor whoever told of the event, who is in the middle of it.

    fault
        What a sink raised last that had not raised before; None while none has.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self._sinks: tuple[EventSink, ...] = ()
        self._at_fault: tuple[EventSink, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        for sink in self._sinks:
            try:
                sink(event)
            except Exception as error:
                if sink not in self._at_fault:
                    self._at_fault, self.fault = (*self._at_fault, sink), error

    def add(self, sink: EventSink) -> None:
        """From now on pass events on to this one too, after those that were there before; once if it is added twice."""
        if sink not in self._sinks:
            self._sinks = (*self._sinks, sink)

    def remove(self, sink: EventSink) -> None:
        """Pass nothing on to this one any more; nothing happens if it was not there."""
        self._sinks = tuple(each for each in self._sinks if each != sink)
        self._at_fault = tuple(each for each in self._at_fault if each != sink)
