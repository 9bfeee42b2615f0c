"""What enters and leaves a cache, in the terms that routers use: whole blocks named by hashes, each behind its parent.

The cache's own events (foreword.events) speak of places: a block of the pool, at a position, in a namespace. A
``KVEventTranslator`` makes of them what an index elsewhere can be kept by. It gives parents before children, takes children
away before parents, and never names a parent that it has not told of and not taken away. Less than a block is not told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from foreword.cache.block_hashes import BlockHasher
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, Event
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE

MEMORY, STORAGE = "GPU", "STORAGE"
"""The media of blocks in the words of the field: what a model computes from, whatever the processor; a store below it."""
SNAPSHOT_BLOCKS = 1024
"""Blocks that one record of a snapshot has at most."""


@dataclass(frozen=True, slots=True)
class StoredBlocks:
    """Consecutive blocks of one prompt can be used.

    hashes
        Their names, first to last (block_hashes.py).
    parent
        The name of the block before the first of them; None where they begin a prompt.
    tokens
        Their token ids, packed.
    scope
        Who alone can use them: a name of the namespace or owner; None: everyone who asks this model without a salt.
    medium
        Where they lie.
    """

    hashes: tuple[int, ...]
    parent: int | None
    tokens: bytes
    scope: str | None = None
    medium: str = MEMORY


@dataclass(frozen=True, slots=True)
class RemovedBlocks:
    """Blocks are gone from a medium: the last of a prompt first."""

    hashes: tuple[int, ...]
    medium: str = MEMORY


@dataclass(frozen=True, slots=True)
class ClearedBlocks:
    """All blocks are gone."""


KVEvent: TypeAlias = StoredBlocks | RemovedBlocks | ClearedBlocks


class KVEventTranslator:
    """Follows one cache by its events. Not thread-safe.

    It is to hear all of them: of a prompt whose beginning came before it listened it does not tell.

    num_blocks, block_size
        Of the cache.
    shared
        The key of the namespace in which everyone shares; blocks elsewhere, and private ones, have a scope.
    """

    def __init__(self, num_blocks: int, block_size: int, shared: bytes):
        self._hasher = BlockHasher(block_size)
        self._shared = shared
        self._hashes = np.zeros(num_blocks, np.uint64)
        self._parents = np.zeros(num_blocks, np.uint64)
        self._begins = np.zeros(num_blocks, np.bool_)  # whether it begins a prompt: it has no parent
        self._tokens = np.zeros((num_blocks, block_size), TOKEN_TYPE)
        self._turns = np.zeros(num_blocks, np.int64)  # in which order they came, from 1; 0: it holds nothing
        self._scopes = np.zeros(num_blocks, np.uint64)  # 0: everyone's
        self._turn = 0

    def __len__(self) -> int:
        """How many blocks there are now."""
        return int(np.count_nonzero(self._turns))

    def __call__(self, event: Event) -> KVEvent | None:
        """What an event of the engine comes to; None if that is nothing."""
        if isinstance(event, BlockStored):
            return self._store(event)
        if isinstance(event, BlockRemoved):
            return self._remove(event)
        if isinstance(event, AllBlocksCleared):
            self._turns[:] = 0
            return ClearedBlocks()
        return None

    def snapshot(self) -> Iterator[StoredBlocks]:
        """All that is there now, as it could have come: parents before children, runs of blocks together."""
        blocks = np.flatnonzero(self._turns)
        blocks = blocks[np.argsort(self._turns[blocks])]
        if not len(blocks):
            return
        goes_on = self._parents[blocks[1:]] == self._hashes[blocks[:-1]]
        goes_on &= ~self._begins[blocks[1:]] & (self._scopes[blocks[1:]] == self._scopes[blocks[:-1]])
        cuts = np.flatnonzero(~goes_on) + 1
        for run in np.split(blocks, cuts):
            for at in range(0, len(run), SNAPSHOT_BLOCKS):
                yield self._record(run[at : at + SNAPSHOT_BLOCKS])

    def _store(self, event: BlockStored) -> StoredBlocks | None:
        size = self._hasher.block_size
        count = len(event.tokens) // (size * TOKEN_BYTES)
        if not count or (event.parent is not None and not self._turns[event.parent]):
            return None
        blocks = np.array(event.blocks[:count], np.int64)
        parent = self._hasher.root(event.namespace) if event.parent is None else int(self._hashes[event.parent])
        before = parent
        if event.owner is not None and event.start <= event.private_from < event.start + size:
            before = self._hasher.door(before, event.private_from, event.owner)
        hashes = self._hasher.chain(before, event.start // size, event.tokens)
        self._hashes[blocks] = hashes
        self._parents[blocks[1:]] = hashes[:-1]
        self._parents[blocks[0]] = parent
        self._begins[blocks] = False
        self._begins[blocks[0]] = event.parent is None
        self._tokens[blocks] = np.frombuffer(event.tokens, TOKEN_TYPE, count * size).reshape(count, size)
        self._scopes[blocks] = self._scope(event)
        self._turns[blocks] = np.arange(self._turn + 1, self._turn + 1 + count)
        self._turn += count
        return self._record(blocks)

    def _remove(self, event: BlockRemoved) -> RemovedBlocks | None:
        blocks = np.array(event.blocks, np.int64)
        blocks = blocks[self._turns[blocks] > 0][::-1]
        if not len(blocks):
            return None
        self._turns[blocks] = 0
        return RemovedBlocks(tuple(self._hashes[blocks].tolist()))

    def _record(self, blocks: npt.NDArray[np.int64]) -> StoredBlocks:
        first = blocks[0]
        scope = int(self._scopes[first])
        return StoredBlocks(
            hashes=tuple(self._hashes[blocks].tolist()),
            parent=None if self._begins[first] else int(self._parents[first]),
            tokens=self._tokens[blocks].tobytes(),
            scope=f"{scope:016x}" if scope else None,
        )

    def _scope(self, event: BlockStored) -> int:
        """A number for whose some blocks are; 0 if they are everyone's."""
        if event.owner is not None:
            return self._hasher.door(self._hasher.root(event.namespace), 0, event.owner)
        return 0 if event.namespace == self._shared else self._hasher.root(event.namespace)
