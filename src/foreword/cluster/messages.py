"""What an ingress and a replica say to each other over one connection, and how it is written: msgpack, by length.

An ingress opens the connection. The replica answers with what it is, then with all that its cache holds; from then on it
tells, unasked, what leaves and enters its cache, and gives a sign of life several times a second.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import TypeVar

import msgspec

from foreword.cache import ConversationState, Mark
from foreword.cache.kv_events import MEMORY
from foreword.engine.grammars import Grammars
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import TextNotes
from foreword.engine.request import EngineRequest, Progress
from foreword.errors import ForewordError, GrammarFailed, ParameterError, PromptError, StepFailed, Unavailable
from foreword.events import RequestFinished, StepFinished
from foreword.outputs import Delta
from foreword.sampling_params import SamplingParams

T = TypeVar("T")
LARGEST = 256 * 2**20
"""Bytes of one message; a snapshot is cut into several."""
LARGEST_GREETING = 4096
"""Bytes of the first message of whoever connects: nothing is known of it yet."""
HEAD = 4
"""Bytes that say how long a message is."""
FAULTS = {kind.__name__: kind for kind in (GrammarFailed, ParameterError, PromptError, StepFailed, Unavailable)}
"""Errors that are told by their names; all others are a StepFailed."""


class SentRequest(msgspec.Struct, frozen=True):
    """An EngineRequest on its way: its grammar is a text again, and that of its prompt stays behind."""

    tokens: bytes
    params: SamplingParams
    request_id: str | None
    tenant: str | None
    cache_salt: str | None
    asked_by: str | None
    public_tokens: int
    marks: tuple[Mark, ...]
    conversation: ConversationState | None
    use_cache: bool
    shown_tokens: frozenset[int]
    stream: bool
    grammar: str | None
    predicted: bytes
    resume: Progress | None

    @classmethod
    def of(cls, request: EngineRequest) -> "SentRequest":
        """The same request, ready to be sent."""
        values = {field.name: getattr(request, field.name) for field in fields(EngineRequest) if field.name != "text"}
        return cls(**{**values, "grammar": None if request.grammar is None else request.grammar.text})

    def made_ready(self, grammars: Grammars) -> EngineRequest:
        """As the engine takes it. Compiles its grammar, which takes time."""
        grammar = None if self.grammar is None else grammars.compiled(self.grammar, "structured_outputs")
        return EngineRequest(**{**msgspec.structs.asdict(self), "grammar": grammar})


class Fault(msgspec.Struct, frozen=True):
    """An error, by its name and its words."""

    name: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What there is to tell of an error."""
        return cls(type(error).__name__, str(error))

    def error(self) -> Exception:
        """The error again."""
        return FAULTS.get(self.name, StepFailed)(self.message)


class Hello(msgspec.Struct, tag=True, frozen=True):
    """From an ingress, first: the fleet's secret, and whether it needs the model's words."""

    secret: str
    wants_text: bool


class Ask(msgspec.Struct, tag=True, frozen=True):
    """From an ingress: answer a request. ``number`` is its name on this connection."""

    number: int
    request: SentRequest


class Drop(msgspec.Struct, tag=True, frozen=True):
    """From an ingress: nobody wants the rest of a request."""

    number: int


class WantSnapshot(msgspec.Struct, tag=True, frozen=True):
    """From an ingress: say again what the cache holds."""


class Reserved(msgspec.Struct, tag=True, frozen=True):
    """A request has been placed at this replica: its blocks' hashes as little-endian 64-bit numbers, the tokens of its
    prompt, and the seconds of work that it is."""

    request_id: str
    hashes: bytes
    tokens: int
    seconds: float


class Progressed(msgspec.Struct, tag=True, frozen=True):
    """A request that was placed has begun to be answered, so much of its prompt having been cached; or has ended."""

    request_id: str
    ended: bool
    cached_tokens: int = 0


Placing = Reserved | Progressed
"""From an ingress, for all others: what it has placed at the replica that it tells."""


class Heard(msgspec.Struct, tag=True, frozen=True):
    """From a replica: what another ingress has placed there. ``peer`` is the name of that one at this replica."""

    peer: str
    of: tuple[Placing, ...]


class Leaving(msgspec.Struct, tag=True, frozen=True):
    """From a replica: it is to end, and takes no more requests; it goes on with those that it has."""


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """From a replica, first: what it is, and the process that it is, by host and number.

    prefill_rate
        Prompt tokens a second that it was measured to compute.
    store
        The store that it shares with other replicas; None: none.
    text
        The model's words, where they were wanted.
    """

    name: str
    host: str
    pid: int
    info: EngineInfo
    prefill_rate: float
    store: str | None
    text: TextNotes | None


class Brought(msgspec.Struct, frozen=True):
    """What is new of a request: a delta, or the error that ended it."""

    number: int
    delta: Delta | None = None
    fault: Fault | None = None


class News(msgspec.Struct, tag=True, frozen=True):
    """From a replica: what a step brought."""

    of: tuple[Brought, ...]


class SignOfLife(msgspec.Struct, tag=True, frozen=True):
    """From a replica, several times a second."""

    state: EngineState


class BlocksStored(msgspec.Struct, tag=True, frozen=True):
    """Consecutive blocks became readable behind ``parent``; hashes as little-endian 64-bit numbers. Of a store no parent is
    told."""

    hashes: bytes
    parent: int | None
    medium: str = MEMORY


class BlocksRemoved(msgspec.Struct, tag=True, frozen=True):
    """Blocks are gone, or of a store: are not there."""

    hashes: bytes
    medium: str = MEMORY


class BlocksCleared(msgspec.Struct, tag=True, frozen=True):
    """All blocks are gone."""


class LoadMeasured(msgspec.Struct, tag=True, frozen=True):
    """The replica has measured how many tokens a second it loads from a store."""

    load_rate: float


CacheChange = BlocksStored | BlocksRemoved | BlocksCleared | LoadMeasured


class CacheNews(msgspec.Struct, tag=True, frozen=True):
    """From a replica: a batch of what entered and left its cache and the stores below, counted from 0 on this connection.

    ``snapshot``: it is all that there is after batch ``sequence`` (-1: before the first), of stores all that is known.
    """

    sequence: int
    events: tuple[CacheChange, ...]
    snapshot: bool = False


class Noted(msgspec.Struct, tag=True, frozen=True):
    """From a replica: what its engine tells an observer of this ingress' requests, and of its steps."""

    requests: tuple[RequestFinished, ...]
    steps: tuple[StepFinished, ...]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """From either side, last: why there is to be no connection."""

    why: str


FromIngress = Hello | Ask | Drop | WantSnapshot | Placing | Refused
FromReplica = Welcome | News | SignOfLife | CacheNews | Noted | Heard | Leaving | Refused
Message = FromIngress | FromReplica

_encoder = msgspec.msgpack.Encoder()
_from_ingress = msgspec.msgpack.Decoder(FromIngress)
_from_replica = msgspec.msgpack.Decoder(FromReplica)


def written(message: Message) -> bytes:
    """A message as bytes, its length first."""
    data = _encoder.encode(message)
    return len(data).to_bytes(HEAD, "big") + data


async def read_from_ingress(reader: asyncio.StreamReader) -> AsyncIterator[FromIngress]:
    """Messages as they come, to the end of the connection. ForewordError for what is none."""
    async for data in _frames(reader, LARGEST_GREETING):
        yield _decoded(_from_ingress, data)


async def read_from_replica(reader: asyncio.StreamReader) -> AsyncIterator[FromReplica]:
    """Messages as they come, to the end of the connection. ForewordError for what is none."""
    async for data in _frames(reader, LARGEST):
        yield _decoded(_from_replica, data)


async def _frames(reader: asyncio.StreamReader, first: int) -> AsyncIterator[bytes]:
    """``first``: bytes that the first message may have."""
    largest = first
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(HEAD), "big")
            if length > largest:
                raise StepFailed(f"A message of {length} bytes was announced; the largest has {largest}.")
            yield await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        largest = LARGEST


def _decoded(decoder: "msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ForewordError, UnicodeDecodeError) as error:
        raise StepFailed(f"A message could not be read: {error}") from error
