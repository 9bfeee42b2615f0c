"""The cache's events for routers elsewhere, in vLLM's format: published by ZeroMQ, from a thread of its own.

A message on the PUB socket has three frames: the topic, a number (8 bytes, big-endian, one more each time), and a batch in
MessagePack: ``[seconds since 1970, [event, ...], rank]``, events being maps. The first batch of a server says that all
blocks are gone, and so does its last one.

The ROUTER socket answers ``[b"", number]`` with all batches from that number on, ``[b"", topic, number, batch]`` each, and
``[b"", b"", ENDED, b""]`` at the end. If they are not kept any more, or the number is ``SNAPSHOT``, it answers with batches
that bear the number of the last one published: that all blocks are gone, and which ones there are now. Who applies them, and
then what is published behind that number, has the whole picture.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import msgspec
import zmq

from foreword.cache.kv_events import ClearedBlocks, KVEvent, KVEventTranslator, RemovedBlocks, StoredBlocks
from foreword.cache.namespace import Namespace
from foreword.cache.stored_blocks import StoreTranslator
from foreword.engine.info import EngineInfo
from foreword.errors import ConfigError
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, StoreAnswered
from foreword.faults import fault_lines
from foreword.serving.log import Log
from foreword.tokens import unpack_tokens

ENDED = (2**64 - 1).to_bytes(8, "big")
"""In place of a number: the end of an answer."""
SNAPSHOT = 2**64 - 1
"""The number to ask for to get all that is cached now."""
REPLAY_OFFSET = 1000
"""The ROUTER socket's port lies so far behind the PUB socket's where it is not named."""
SCOPE = "dynamo-cache-salt:"
"""What a scope begins with among the extra keys of a block: Dynamo keeps those apart, others take any text for a salt."""
KEPT_BATCHES, KEPT_BYTES = 10_000, 64 * 2**20
WAITING_MESSAGES = 100_000
ANSWER_MESSAGES = 2 * KEPT_BATCHES
SNAPSHOT_RECORDS = 64
"""Records in one message of a snapshot: some 4 MB at most with blocks of 16 tokens."""


class Stored(msgspec.Struct, tag="BlockStored", omit_defaults=True):
    """Blocks are there: their tokens, and the block before them."""

    block_hashes: tuple[int, ...]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[tuple[str, ...]] | None = None


class Removed(msgspec.Struct, tag="BlockRemoved"):
    """Blocks are gone."""

    block_hashes: tuple[int, ...]
    medium: str | None


class Cleared(msgspec.Struct, tag="AllBlocksCleared"):
    """All blocks are gone."""


class Batch(msgspec.Struct, array_like=True):
    """What one message says."""

    ts: float
    events: list[Stored | Removed | Cleared]
    data_parallel_rank: int = 0


@dataclass(frozen=True)
class KVSockets:
    """The two sockets, bound. ``endpoint`` and ``replay_endpoint``: where, with the ports that were taken for ``*``."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    publish: "zmq.Socket[bytes]"
    replay: "zmq.Socket[bytes]"
    endpoint: str
    replay_endpoint: str

    @classmethod
    def bind(
        cls, endpoint: str, replay_endpoint: str | None = None, waiting_messages: int = WAITING_MESSAGES
    ) -> "KVSockets":
        """Bind them: ``tcp://HOST:PORT`` (``*``: every address, any free port) or ``ipc://PATH``.

        A subscriber that is more than so many messages behind loses some. ConfigError where they cannot be bound.
        """
        context = zmq.Context[zmq.Socket[bytes]]()
        publish, replay = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
        publish.sndhwm, replay.sndhwm = waiting_messages, ANSWER_MESSAGES
        replay.router_mandatory = 1  # who does not read is told of, instead of being told half
        publish.linger = replay.linger = 200  # milliseconds
        sockets = cls(context, publish, replay, endpoint, replay_endpoint or _beside(endpoint))
        try:
            at = _bound(publish, endpoint)
            return cls(context, publish, replay, at, _bound(replay, sockets.replay_endpoint))
        except ConfigError:
            sockets.close()
            raise

    def close(self) -> None:
        """Let go of both; what was sent gets a moment to go out."""
        self.publish.close()
        self.replay.close()
        self.context.term()


class KVEventPublisher:
    """Tells whoever subscribes what a cache holds. Made before the engine's first request.

    sockets
        Where to; closed at the end.
    topic
        First frame of every message: subscribers choose by how it begins.
    kept_batches
        How many of the last ones can be asked for.
    """

    def __init__(self, sockets: KVSockets, info: EngineInfo, log: Log, topic: str = "", kept_batches: int = KEPT_BATCHES):
        self._sockets = sockets
        self._topic = topic.encode()
        self._log = log
        self._block_size = info.block_size
        shared = Namespace(info.fingerprint).key
        self._translator = KVEventTranslator(info.num_blocks, info.block_size, shared)
        self._stores = StoreTranslator(info.block_size, shared)
        self._encoder = msgspec.msgpack.Encoder()
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_batches = kept_batches
        self._kept_bytes = 0
        self._next = 0
        self._events: deque[Event | None] = deque()  # None: the end
        self._bell, self._rung = socket.socketpair()
        self._ringing = False
        self._thread = threading.Thread(target=self._run, name="foreword-kv-events", daemon=True)
        self._thread.start()

    def sink(self, event: Event) -> None:
        """Take an event; costs the engine's thread next to nothing."""
        if isinstance(event, BlockStored | BlockRemoved | AllBlocksCleared | StoreAnswered):
            self._put(event)

    def close(self, timeout: float = 10.0) -> None:
        """Publish what waits and that all blocks are gone, and end the thread."""
        self._put(None)
        self._thread.join(timeout)

    def _put(self, event: Event | None) -> None:
        if not self._thread.is_alive():
            return
        self._events.append(event)
        if not self._ringing:
            self._ringing = True
            with contextlib.suppress(OSError):  # it has just ended
                self._bell.send(b"\0")

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            self._log.error("kv events are not published any more", fault=fault_lines(error))

    def _serve(self) -> None:
        with self._bell, self._rung, contextlib.closing(self._sockets):
            poller = zmq.Poller()
            poller.register(self._rung, zmq.POLLIN)
            poller.register(self._sockets.replay, zmq.POLLIN)
            self._publish([Cleared()])
            going_on = True
            while going_on:
                ready = dict(poller.poll())
                if self._rung.fileno() in ready:
                    self._rung.recv(1)
                    self._ringing = False  # before it is looked what has come: nothing that comes meanwhile is left lying
                going_on = self._take()  # before an answer too: it covers all that the engine has told
                if self._sockets.replay in ready:
                    self._answer(self._sockets.replay.recv_multipart())

    def _take(self) -> bool:
        """Publish what has come; False at the end."""
        told: list[Stored | Removed | Cleared] = []
        going_on = True
        while self._events and going_on:
            event = self._events.popleft()
            going_on = event is not None
            told += [self._wire(each) for each in ([ClearedBlocks()] if event is None else self._changes(event))]
        if told:
            self._publish(told)
        return going_on

    def _changes(self, event: Event) -> list[KVEvent]:
        """What an event of the engine comes to. Who hears that all is gone forgets stores too: they are told anew."""
        if isinstance(event, StoreAnswered):
            return [*self._stores(event)]
        found = self._translator(event)
        if isinstance(found, ClearedBlocks):
            return [found, *self._stores.snapshot()]
        return [] if found is None else [found]

    def _publish(self, events: list[Stored | Removed | Cleared]) -> None:
        payload = self._encoder.encode(Batch(time.time(), events))
        self._sockets.publish.send_multipart((self._topic, self._next.to_bytes(8, "big"), payload))
        self._kept.append((self._next, payload))
        self._kept_bytes += len(payload)
        while len(self._kept) > self._kept_batches or (self._kept_bytes > KEPT_BYTES and len(self._kept) > 1):
            self._kept_bytes -= len(self._kept.popleft()[1])
        self._next += 1

    def _answer(self, frames: list[bytes]) -> None:
        """Answer a request of the ROUTER socket, or leave it half answered if who asked does not read."""
        if len(frames) != 3 or len(frames[2]) != 8:
            self._log.warning("kv events: a request that is none", frames=len(frames))
            return
        client, start = frames[0], int.from_bytes(frames[2], "big")
        try:
            for number, payload in self._asked(start):
                self._reply(client, self._topic, number.to_bytes(8, "big"), payload)
            self._reply(client, b"", ENDED, b"")
        except zmq.ZMQError as error:
            self._log.warning("kv events: who asked for them does not read", error=str(error))

    def _reply(self, client: bytes, *frames: bytes) -> None:
        self._sockets.replay.send_multipart((client, b"", *frames), zmq.NOBLOCK)

    def _asked(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Numbers and batches from a number on, or a snapshot."""
        if start != SNAPSHOT and start >= self._kept[0][0]:
            yield from ((number, payload) for number, payload in self._kept if number >= start)
            return
        events: list[Stored | Removed | Cleared] = [Cleared()]
        for record in chain(self._translator.snapshot(), self._stores.snapshot()):
            events.append(self._wire(record))
            if len(events) == SNAPSHOT_RECORDS:
                yield self._next - 1, self._encoder.encode(Batch(time.time(), events))
                events = []
        if events:
            yield self._next - 1, self._encoder.encode(Batch(time.time(), events))

    def _wire(self, event: KVEvent) -> Stored | Removed | Cleared:
        """An event in the words of the format."""
        if isinstance(event, ClearedBlocks):
            return Cleared()
        if isinstance(event, RemovedBlocks):
            return Removed(event.hashes, event.medium)
        return Stored(
            block_hashes=event.hashes,
            parent_block_hash=event.parent,
            token_ids=unpack_tokens(event.tokens),
            block_size=self._block_size,
            lora_id=None,
            medium=event.medium,
            lora_name=None,
            extra_keys=_extra_keys(event),
        )


def _extra_keys(event: StoredBlocks) -> list[tuple[str, ...]] | None:
    """A salt a block where not everyone can use them; of tenants and salts only a digest is told."""
    return None if event.scope is None else [(SCOPE + event.scope,)] * len(event.hashes)


def _bound(of: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Bind a socket; returns where it is."""
    way_out = "Give tcp://HOST:PORT with a free port of this machine (* for any), or ipc://PATH."
    try:
        of.bind(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"kv_events cannot be published at {endpoint!r}: {error}. {way_out}") from error
    return of.getsockopt_string(zmq.LAST_ENDPOINT)


def _beside(endpoint: str) -> str:
    """Where the ROUTER socket is if nobody says so."""
    head, _, port = endpoint.rpartition(":")
    if not endpoint.startswith("tcp://"):
        return f"{endpoint}-replay"
    return f"{head}:{int(port) + REPLAY_OFFSET}" if port.isdecimal() else endpoint
