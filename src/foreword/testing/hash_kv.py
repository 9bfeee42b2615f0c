"""A machine whose KV are hashes: the KV of a token is a hash of all tokens up to it, and is checked whenever it is read.

Reading back a wrong hash is reading the KV of another prefix: whatever a cache does wrong shows up here. Beside it stands an
observer that knows the cache only by its events, and must come to the same picture.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foreword.account import Account, Source
from foreword.cache import (
    CacheConfig,
    ConversationState,
    CopyBlock,
    LoadBlocks,
    Mark,
    ModelFingerprint,
    Namespace,
    PrefixCache,
    PrivatePart,
    RequestLedger,
    Reservation,
    StoreBlocks,
    Stored,
)
from foreword.events import AllBlocksCleared, BlockRemoved, BlockReused, BlockStored, Event, EventSink
from foreword.tokens import TOKEN_BYTES, pack_tokens

MODEL = ModelFingerprint(weights="tiny")
SPACE = Namespace(MODEL)
FAILED = -1  # what a step that failed leaves in the blocks it was to fill


def prefix_hashes(namespace: bytes, ids: Sequence[int], private: PrivatePart | None = None) -> list[int]:
    """The 'KV' of each token: a hash of the namespace and of the tokens up to it; in a private part of its owner too."""
    value, out = zlib.crc32(namespace), []
    for at, token in enumerate(ids):
        if private is not None and at == private.start:
            value = zlib.crc32(private.key, value)
        value = zlib.crc32(token.to_bytes(4, "little"), value)
        out.append(value)
    return out


class HashKV:
    """KV memory of hashes: [blocks, block size] numbers. ``check`` fails (AssertionError) at a token with another's KV."""

    def __init__(self, num_blocks: int, block_size: int):
        self.block_size = block_size
        self._memory = np.zeros((num_blocks, block_size), np.int64)

    def read(self, block: int) -> npt.NDArray[np.int64]:
        """A copy of what is in a block."""
        values: npt.NDArray[np.int64] = self._memory[block].copy()
        return values

    def fill(self, block: int, values: npt.NDArray[np.int64]) -> None:
        """Put what ``read`` gave into a block."""
        self._memory[block] = values

    def copy(self, actions: Sequence[CopyBlock]) -> None:
        """Carry out the cache's copies."""
        for action in actions:
            self._memory[action.target, : action.tokens] = self._memory[action.source, : action.tokens]

    def write(self, table: npt.NDArray[np.int32], start: int, values: Sequence[int]) -> None:
        """Put the KV of tokens start, start + 1, ... into the blocks of a table."""
        at = np.arange(start, start + len(values))
        self._memory[table[at // self.block_size], at % self.block_size] = values

    def check(self, table: npt.NDArray[np.int32], values: Sequence[int]) -> None:
        """The first tokens of a request have these values as their KV."""
        at = np.arange(len(values))
        wrong = np.flatnonzero(self._memory[table[at // self.block_size], at % self.block_size] != np.array(values))
        assert not len(wrong), f"token {wrong[0]} of {len(values)} has the KV of another prefix"


class HashTier:
    """A lower tier in memory: hashes of blocks by namespace, owner and tokens. Transfers end when ``end`` says so.

    under_way
        The transfers that have begun, in order. A load's blocks hold rubbish until it has ended.
    """

    def __init__(self, memory: HashKV):
        self._memory = memory
        self._kept: dict[tuple[bytes, bytes, bytes], npt.NDArray[np.int64]] = {}
        self.under_way: list[LoadBlocks | StoreBlocks] = []

    def has(self, namespace: bytes, tokens: bytes, private: PrivatePart | None) -> tuple[Stored, ...]:
        """What there is of a prompt."""
        width = self._memory.block_size * TOKEN_BYTES
        end = 0
        while end + width <= len(tokens) and self._name(namespace, tokens[: end + width], private) in self._kept:
            end += width
        return (Stored(end // TOKEN_BYTES, Source.STORED_LOCAL),) if end else ()

    def begin(self, transfer: LoadBlocks | StoreBlocks) -> None:
        """Take a transfer."""
        if isinstance(transfer, LoadBlocks):
            for block in transfer.blocks:
                self._memory.fill(block, np.full(self._memory.block_size, FAILED))
        self.under_way.append(transfer)

    def end(self, transfer: LoadBlocks | StoreBlocks, blocks: int) -> int:
        """Carry a transfer out as far as its first ``blocks`` blocks; returns the position up to which that is."""
        self.under_way.remove(transfer)
        size = self._memory.block_size
        for number, block in enumerate(transfer.blocks[:blocks]):
            until = transfer.start + (number + 1) * size
            name = self._name(transfer.namespace.key, transfer.tokens[: until * TOKEN_BYTES], transfer.private)
            if isinstance(transfer, StoreBlocks):
                self._kept[name] = self._memory.read(block)
            elif name in self._kept:
                self._memory.fill(block, self._kept[name])
            else:
                return until - size
        return min(transfer.until, transfer.start + blocks * size)

    def lose(self, share: float, rng: random.Random) -> None:
        """Forget some of what is kept."""
        for name in [name for name in self._kept if rng.random() < share]:
            del self._kept[name]

    @staticmethod
    def _name(namespace: bytes, tokens: bytes, private: PrivatePart | None) -> tuple[bytes, bytes, bytes]:
        own = private is not None and private.start * TOKEN_BYTES < len(tokens)
        return namespace, tokens, private.start.to_bytes(4, "big") + private.key if private is not None and own else b""


@dataclass(eq=False)
class Running:
    """A request under way; ``hashes`` are the KV that its tokens must have."""

    namespace: Namespace
    ids: list[int]
    """The prompt, then generated tokens."""
    prompt: int
    ledger: RequestLedger
    reservation: Reservation
    hashes: list[int]
    private: PrivatePart | None = None


StoredBlock = tuple[bytes, int, bytes, str | None, int]
"""Namespace key, position, tokens, owner, and from where the prompt is the owner's."""


class BlockObserver:
    """What somebody who hears only a cache's events believes to be in each block, in ``stored``."""

    def __init__(self, block_size: int):
        self.width = block_size * TOKEN_BYTES
        self.block_size = block_size
        self.events: list[Event] = []
        self.stored: dict[int, StoredBlock] = {}

    def __call__(self, event: Event) -> None:
        """Take an event of the cache."""
        self.events.append(event)
        if isinstance(event, AllBlocksCleared):
            self.stored.clear()
        elif isinstance(event, BlockRemoved):
            for block in event.blocks:
                del self.stored[block]
        elif isinstance(event, BlockReused):
            found = [self.stored[block] for block in np.frombuffer(event.blocks, np.int32).tolist()]
            assert [start for _, start, *_ in found] == [number * self.block_size for number in range(len(found))]
            assert all(len(tokens) == self.width for _, _, tokens, *_ in found)
        else:
            assert isinstance(event, BlockStored)
            for number, block in enumerate(event.blocks):
                tokens = event.tokens[number * self.width : (number + 1) * self.width]
                start = event.start + number * self.block_size
                self.stored[block] = (event.namespace, start, tokens, event.owner, event.private_from)


@dataclass
class HashMachine:
    """Runs requests against a cache, step by step, and checks what every step reads. ``listeners`` hear its events too."""

    config: CacheConfig
    now: float = 0.0
    running: list[Running] = field(default_factory=list)
    listeners: list[EventSink] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observer = BlockObserver(self.config.block_size)
        self.cache = PrefixCache(self.config, events=self._tell)
        self.memory = HashKV(self.config.num_blocks, self.config.block_size)
        self.tier = HashTier(self.memory)

    @property
    def events(self) -> list[Event]:
        """All that the cache has told."""
        return self.observer.events

    def _tell(self, event: Event) -> None:
        self.observer(event)
        for listener in self.listeners:
            listener(event)

    def start(
        self,
        ids: list[int],
        namespace: Namespace = SPACE,
        use_cache: bool = True,
        marks: Sequence[Mark] = (),
        private: PrivatePart | None = None,
    ) -> Running | None:
        """Reserve blocks for a request; None without room."""
        self.now += 1
        ledger = RequestLedger(len(ids))
        packed = pack_tokens(ids)
        stored = self.tier.has(namespace.key, packed, private)
        match = self.cache.match(namespace, packed, private, use_cache=use_cache, stored=stored)
        reservation = self.cache.reserve(match, ledger, self.now, marks)
        if reservation is None:
            return None
        hashes = prefix_hashes(namespace.key, ids, private)
        request = Running(namespace, list(ids), len(ids), ledger, reservation, hashes, private)
        self.running.append(request)
        return request

    def must_start(
        self,
        ids: list[int],
        namespace: Namespace = SPACE,
        marks: Sequence[Mark] = (),
        private: PrivatePart | None = None,
    ) -> Running:
        """The same, where there must be room."""
        request = self.start(ids, namespace, marks=marks, private=private)
        assert request is not None, "no room"
        return request

    def generate(self, request: Running, token: int) -> bool:
        """Append a sampled token, if there is room for its KV."""
        if not self.cache.grow(request.reservation, len(request.ids) + 1, self.now):
            return False
        request.ids.append(token)
        request.hashes = prefix_hashes(request.namespace.key, request.ids, request.private)
        return True

    def step(self, budget: int = 10**9, fail: bool = False) -> int:
        """Plan all running requests, run, commit; with ``fail`` the step raises instead. Returns the tokens computed."""
        planned, done = [], 0
        for request in self.running:
            chunk = self.cache.plan(request.reservation, len(request.ids), budget)
            if chunk is not None:
                budget -= chunk.end - chunk.start
                done += chunk.end - chunk.start
                planned.append((request, chunk))
        self.carry_out()
        for request, chunk in planned:
            values = request.hashes[chunk.start : chunk.end]
            self.memory.write(request.reservation.table, chunk.start, [FAILED] * len(values) if fail else values)
        for request, chunk in planned:
            if fail:
                self.cache.abandon(request.reservation)
            else:
                self.check_readable(request, chunk.end)
        if not fail:
            for request, _ in planned:
                self.cache.commit(request.reservation)
        return done

    def carry_out(self) -> None:
        """Do what the cache asks for; transfers are only begun."""
        for action in self.cache.actions.take():
            if isinstance(action, CopyBlock):
                self.memory.copy([action])
            else:
                self.tier.begin(action)

    def end_transfer(self, transfer: LoadBlocks | StoreBlocks, blocks: int = 10**9) -> None:
        """End a transfer that is under way after so many of its blocks."""
        until = self.tier.end(transfer, blocks)
        if isinstance(transfer, LoadBlocks):
            self.cache.transfers.arrived(transfer, until, self.now)
        else:
            self.cache.transfers.put_away(transfer, until)

    def end_transfers(self) -> None:
        """End all that is under way, whole."""
        self.carry_out()
        for transfer in list(self.tier.under_way):
            self.end_transfer(transfer)

    def check_readable(self, request: Running, end: int) -> None:
        """The first ``end`` tokens of a request have their own KV."""
        self.memory.check(request.reservation.table, request.hashes[:end])

    def finish(self, request: Running, conversation: ConversationState | None = None) -> None:
        """End a request; what it computed stays cached."""
        self.now += 1
        self.running.remove(request)
        generated = pack_tokens(request.ids[request.prompt :])
        self.cache.release(request.reservation, self.now, generated, conversation=conversation)

    def discard(self, request: Running) -> None:
        """End a request that computed what is no number: nothing of it is kept, and who read it ends, too."""
        self.now += 1
        self.running.remove(request)
        self.cache.release(request.reservation, self.now, pack_tokens(request.ids[request.prompt :]), keep=False)
        for other in [each for each in self.running if each.reservation.spoiled]:
            self.finish(other)

    def complete(self) -> int:
        """Step until all that runs has its KV; returns the tokens computed."""
        total = 0
        while any(request.reservation.computed < len(request.ids) for request in self.running):
            done = self.step()
            assert done or self.tier.under_way, "stuck"
            self.end_transfers()
            total += done
        return total

    def drain(self) -> None:
        """Complete and finish all that runs."""
        self.complete()
        for request in list(self.running):
            self.finish(request)
        self.end_transfers()
        self.check()

    def run(
        self,
        ids: list[int],
        namespace: Namespace = SPACE,
        marks: Sequence[Mark] = (),
        private: PrivatePart | None = None,
    ) -> Account:
        """One request from beginning to end."""
        request = self.must_start(ids, namespace, marks, private)
        while request.reservation.computed < len(ids):
            assert self.step() or self.tier.under_way, "stuck"
            self.end_transfers()
        self.finish(request)
        self.end_transfers()
        self.check()
        return request.ledger.account()

    def check(self) -> None:
        """Every invariant of the cache holds."""
        self.cache.check_integrity()
