"""The tiers below an engine's KV memory: the stores, and the threads that read and write them. Imports no torch.

Three threads, so that a look-up does not wait for a load, nor a load for a store: one answers look-ups, one loads, one
stores, and gives way to steps and loads, the less the more waits to be stored. Stores wait in a queue that takes a bounded
share of the KV memory's blocks, which are held meanwhile; what finds no place there is given again when it is used again.
"""

import contextlib
import functools
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import overload

from foreword.account import MissReason, Source
from foreword.cache import LoadBlocks, ModelFingerprint, Namespace, PrivatePart, Query, StoreBlocks, Stored
from foreword.cache.pool import Blocks
from foreword.engine.load_rule import LoadRule
from foreword.engine.pacing import Pace
from foreword.engine.tier import Found, Loaded, PutAway, TierNews
from foreword.engine.tier_state import StoreState, TierState
from foreword.faults import fault_lines
from foreword.tiers.base import BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tiers.names import BlockNames
from foreword.tiers.pieces import size_of
from foreword.tiers.tenant_keys import TenantKeys
from foreword.tokens import TOKEN_BYTES

logger = logging.getLogger("foreword")
LOADED_BYTES, STORED_BYTES = 32 * 2**20, 4 * 2**20
"""At a time: a store reads many blocks quicker than few, and who writes few leaves the processor to others in between."""
IDLE_SECONDS = 2.0
REMEMBERED = 256
"""Namespaces whose chain of names is not begun anew."""
REASONS = {
    Outcome.MISSING: MissReason.LOAD_FAILED,
    Outcome.FAILED: MissReason.LOAD_FAILED,
    Outcome.CORRUPT: MissReason.STORED_CORRUPT,
    Outcome.OTHER: MissReason.STORED_OTHER_IDENTITY,
}


@dataclass(frozen=True, slots=True)
class TierStore:
    """A store, and what tokens that come from it are called in accounts."""

    source: Source
    store: BlockStore


@dataclass
class _Books:
    """What is noted of one store."""

    usage: StoreUsage = field(default_factory=StoreUsage)
    loaded_blocks: int = 0
    lost_loads: Counter[MissReason] = field(default_factory=Counter)


class Tiering:
    """The stores below one engine; see Tier.

    pieces
        Where a block's KV lie.
    queue_blocks
        When so many blocks wait to be stored, nothing is added to them.
    idle_seconds
        When nothing has been stored for so long, what was taken is made readable for others; so often stores are asked
        what they hold.
    clock
        In seconds; of any beginning.
    pace
        How storing gives way.
    """

    def __init__(
        self,
        stores: Sequence[TierStore],
        pieces: Callable[[int], Pieces],
        block_size: int,
        queue_blocks: int,
        tenants: TenantKeys | None = None,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ):
        self.stores = tuple(stores)
        self._books = {each.source: _Books() for each in stores}
        self._pieces = pieces
        self._size = block_size
        self._tenants = tenants
        self._clock = clock
        self._rule = LoadRule()
        self._pace = pace or Pace()
        self._names = functools.lru_cache(REMEMBERED)(lambda key: BlockNames(key, block_size, tenants))
        self._block_bytes = size_of(pieces(0))
        self._loaded, self._stored = (max(1, size // self._block_bytes) for size in (LOADED_BYTES, STORED_BYTES))
        self._news: queue.SimpleQueue[TierNews] = queue.SimpleQueue()
        self._ring: Callable[[], None] = lambda: None
        self._awaited = 0
        self._queue = queue_blocks
        self._dropped = 0
        self._given = self._written = 0  # blocks: counted by the engine's thread, and by the one that stores
        self._idle_seconds = idle_seconds
        self._finder = ThreadPoolExecutor(1, "foreword-tier-find")
        self._loader = ThreadPoolExecutor(1, "foreword-tier-load")
        self._to_store: queue.SimpleQueue[StoreBlocks | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._ask_usage()
        self._writer = threading.Thread(target=self._write, name="foreword-tier-store", daemon=True)
        self._writer.start()

    def look_up(self, number: int, query: Query) -> None:
        """See Tier."""
        self._awaited += 1
        self._finder.submit(self._tell, lambda: Found(number, self._find(query)), Found(number, ()))

    def begin(self, transfer: LoadBlocks | StoreBlocks) -> None:
        """See Tier."""
        self._awaited += 1
        match transfer:
            case LoadBlocks():
                self._loader.submit(self._tell, lambda: self._load(transfer), Loaded(transfer, transfer.start))
            case StoreBlocks() if self._waiting < self._queue:
                self._given += len(transfer.blocks)
                self._to_store.put(transfer)
            case StoreBlocks():
                self._dropped += len(transfer.blocks)
                self._say(PutAway(transfer, transfer.start))

    def news(self) -> list[TierNews]:
        """See Tier."""
        come: list[TierNews] = []
        with contextlib.suppress(queue.Empty):
            while True:
                come.append(self._news.get_nowait())
        self._awaited -= len(come)
        return come

    def awaited(self) -> bool:
        """See Tier."""
        return self._awaited > 0

    def giving_way(self) -> AbstractContextManager[None]:
        """See Tier."""
        return self._pace.giving_way()

    def computed(self, tokens: int, seconds: float) -> None:
        """See Tier."""
        self._rule.computed(tokens, seconds)

    def state(self) -> TierState:
        """See Tier."""
        states = []
        for source, books in self._books.items():
            loaded, lost = books.loaded_blocks, dict(books.lost_loads)
            rate = self._rule.load_rate(source)
            states.append(StoreState(source, books.usage, loaded, loaded * self._block_bytes, lost, rate))
        return TierState(tuple(states), self._waiting, self._dropped)

    def on_arrival(self, ring: Callable[[], None]) -> None:
        """See Tier."""
        self._ring = ring

    def close(self, seconds: float, stores: Sequence[StoreBlocks] = ()) -> None:
        """See Tier."""
        for store in stores:
            self._to_store.put(store)
        self._pace.hurry()
        self._finder.shutdown(cancel_futures=True)
        self._loader.shutdown(cancel_futures=True)
        self._to_store.put(None)
        self._writer.join(seconds)
        self._stopping.set()
        self._writer.join()
        for each in self.stores:
            each.store.close()

    def _find(self, query: Query) -> tuple[Stored, ...]:
        """How far the stores have a prompt, one after the other; if not at all, whether one has it for another model."""
        keys = self._keys(query.namespace, query.tokens, query.private)
        found: list[Stored] = []
        elsewhere: list[Stored] = []
        at = 0
        for each in self.stores:
            others = self._names_of_others(query, self._books[each.source].usage.others)
            there = each.store.exists_many([*(key.name for key in keys[at:]), *others])
            ours, theirs = there[: len(keys) - at], there[len(keys) - at :]
            if True in theirs:
                elsewhere.append(Stored(self._size, each.source, MissReason.STORED_OTHER_IDENTITY))
            count = ours.index(False) if False in ours else len(ours)
            if count:
                at += count
                why_not = MissReason.LOAD_SLOWER if self._rule.is_slower(each.source) else None
                found.append(Stored(at * self._size, each.source, why_not))
        return tuple(found or elsewhere[:1])

    def _names_of_others(self, query: Query, others: Sequence[ModelFingerprint]) -> list[bytes]:
        """What a prompt's first block is called for other models, under the same tenant and salt.

        They are asked for beside one's own names: that costs no further answer of the store.
        """
        names = []
        for model in others:
            namespace, block = replace(query.namespace, model=model), query.tokens[: model.block_size * TOKEN_BYTES]
            private = _private(namespace, query.private)
            names += [key.name for key in BlockNames(namespace.key, model.block_size, self._tenants).keys(block, private)]
        return names

    def _load(self, load: LoadBlocks) -> Loaded:
        """Load, and count what has come and why no more."""
        with self._pace.giving_way():
            loaded, start = self._bring(load), load.start
        for part in load.stored:
            came = max(0, min(loaded.until, part.until) - start)
            self._books[part.source].loaded_blocks += came // self._size
            start += came
            if loaded.until < load.until and loaded.until < part.until:
                self._books[part.source].lost_loads[loaded.reason] += 1
                break
        return loaded

    def _bring(self, load: LoadBlocks) -> Loaded:
        """Bring blocks, some at a time, until one does not come or computing the rest takes less time."""
        keys = self._keys(load.namespace, load.tokens, load.private)
        stores, at = {each.source: each.store for each in self.stores}, load.start
        for part in load.stored:
            began, first = self._clock(), at
            while at < part.until and at < load.until:
                end = min(at + self._loaded * self._size, part.until, load.until)
                wanted = keys[at // self._size : end // self._size]
                blocks = load.blocks[(at - load.start) // self._size : (end - load.start) // self._size]
                outcomes = stores[part.source].get_many(wanted, _PiecesOf(blocks, self._pieces))
                for key, outcome in zip(wanted, outcomes, strict=True):
                    if outcome is not Outcome.FOUND:
                        if outcome is Outcome.CORRUPT:
                            stores[part.source].delete_many([key.name])
                        return Loaded(load, at, REASONS[outcome])
                    at += self._size
                took = self._clock() - began
                self._rule.loaded(part.source, at - first, took)
                left = load.until - at
                if left and left * took / (at - first) > self._rule.seconds_to_compute(left):
                    return Loaded(load, at, MissReason.LOAD_SLOWER)
        return Loaded(load, at)

    def _write(self) -> None:
        """The thread that stores."""
        flushed, done = True, 0
        while True:
            if self._clock() - self._usage_asked >= self._idle_seconds:
                self._ask_usage()
            try:
                store = self._to_store.get(timeout=self._idle_seconds)
            except queue.Empty:
                if not flushed:
                    self._flush()
                    flushed = True
                continue
            if store is None:
                self._flush()
                return
            flushed = False
            self._tell(functools.partial(self._store, store), PutAway(store, store.start))
            done += len(store.blocks)
            self._written = done  # also where not all was taken

    def _store(self, store: StoreBlocks) -> PutAway:
        """Give blocks to every store, some at a time; what the first one took counts."""
        with self._pace.turn(self._fullness):
            keys = self._keys(store.namespace, store.tokens, store.private)[store.start // self._size :]
        keep_until = time.time() + store.keep_seconds if store.keep_seconds else 0.0
        for at in range(0, len(keys), self._stored):
            if self._stopping.is_set():
                return PutAway(store, store.start + at * self._size)
            some = keys[at : at + self._stored]
            blocks = _PiecesOf(store.blocks[at : at + self._stored], self._pieces)
            with self._pace.turn(self._fullness):
                taken = [each.store.put_many(some, blocks, keep_until) for each in self.stores]
            self._written += len(some)
            if taken[0] < len(some):
                return PutAway(store, store.start + at * self._size)
        return PutAway(store, store.until)

    @property
    def _waiting(self) -> int:
        """Blocks that were given and are not stored yet. More may be held: those before them in the transfer under way."""
        return self._given - self._written

    def _fullness(self) -> float:
        """How much of the queue's room is taken."""
        return self._waiting / max(self._queue, 1)

    def _flush(self) -> None:
        for each in self.stores:
            each.store.flush()
        self._ask_usage()

    def _ask_usage(self) -> None:
        for each in self.stores:
            self._books[each.source].usage = each.store.usage()
        self._usage_asked = self._clock()

    def _tell(self, work: Callable[[], TierNews], otherwise: TierNews) -> None:
        """Do something in a thread of the tiers, and say what came of it; a store that raises has brought nothing."""
        try:
            news = work()
        except BaseException as error:  # native code raises what is no Exception, and whoever waits has to hear
            logger.error("A tier below the cache failed; what it was to bring is computed.\n%s", fault_lines(error))
            news = otherwise
        self._say(news)

    def _say(self, news: TierNews) -> None:
        self._news.put(news)
        self._ring()

    def _keys(self, namespace: Namespace, tokens: bytes, private: PrivatePart | None) -> list[BlockKey]:
        """The names of a prompt's whole blocks."""
        whole = len(tokens) // (self._size * TOKEN_BYTES) * self._size * TOKEN_BYTES
        return self._names(namespace.key).keys(tokens[:whole], _private(namespace, private))


class _PiecesOf(Sequence[Pieces]):
    """The pieces of some blocks, made when one is asked for: thousands of views at a time would be dear to keep."""

    def __init__(self, blocks: Blocks, pieces: Callable[[int], Pieces]):
        self._blocks = blocks
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self._blocks)

    @overload
    def __getitem__(self, number: int) -> Pieces: ...
    @overload
    def __getitem__(self, number: slice) -> "_PiecesOf": ...
    def __getitem__(self, number: int | slice) -> "Pieces | _PiecesOf":
        if isinstance(number, slice):
            return _PiecesOf(self._blocks[number], self._pieces)
        return self._pieces(self._blocks[number])


def _private(namespace: Namespace, private: PrivatePart | None) -> PrivatePart | None:
    """What a namespace keeps for one tenant is sealed as that tenant's."""
    return PrivatePart(0, namespace.tenant) if private is None and namespace.tenant is not None else private
