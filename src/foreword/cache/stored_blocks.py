"""What stores below a cache have, as routers read it: whole blocks named by hashes, each behind its parent.

Stores are not followed as a cache is (kv_events.py): they may hold much from before, and share it with others. What is
known of them is what the engine was told when it asked, loaded or stored; of that a ``StoreTranslator`` tells, and in names
alone ``StoredNames``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from foreword.cache.block_hashes import BlockHasher, BlockHashes
from foreword.cache.kv_events import SNAPSHOT_BLOCKS, STORAGE, RemovedBlocks, StoredBlocks
from foreword.cache.namespace import PrivatePart
from foreword.events import StoreAnswered
from foreword.tokens import TOKEN_BYTES

MOST_BLOCKS = 500_000
"""Blocks of which it is told at a time: some 150 MiB."""
MOST_NAMES = 200_000
"""Blocks whose names are kept: some 20 MiB."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that has been told of."""

    parent: int | None
    tokens: bytes
    scope: str | None


class StoreTranslator:
    """Follows the stores below one cache by what comes of asking them. Not thread-safe.

    block_size
        Of the cache.
    shared
        The key of the namespace in which everyone shares; blocks elsewhere, and private ones, have a scope.
    most
        When so many blocks have been told of, no more are until some are gone.
    """

    def __init__(self, block_size: int, shared: bytes, most: int = MOST_BLOCKS):
        self._hasher = BlockHasher(block_size)
        self._block_bytes = block_size * TOKEN_BYTES
        self._shared = shared
        self._most = most
        self._told: dict[int, _Block] = {}  # parents before children

    def __call__(self, event: StoreAnswered) -> list[StoredBlocks | RemovedBlocks]:
        """What an answer comes to: what of it is new."""
        private = None if event.owner is None else PrivatePart(event.private_from, event.owner)
        names = self._hasher.prompt(event.namespace, event.tokens, private).tolist()
        size = self._hasher.block_size
        until = event.until // size
        gone = self._forget({name for name in names[until:] if name in self._told})
        told: list[StoredBlocks | RemovedBlocks] = [RemovedBlocks(gone, STORAGE)] if gone else []
        new = [number for number in range(event.start // size, until) if names[number] not in self._told]
        for number in new[: max(self._most - len(self._told), 0)]:
            parent = names[number - 1] if number else None
            if parent is not None and parent not in self._told:
                break
            tokens = event.tokens[number * self._block_bytes : (number + 1) * self._block_bytes]
            self._told[names[number]] = _Block(parent, tokens, self._scope(event, (number + 1) * size))
        return [*told, *self._records([names[number] for number in new if names[number] in self._told])]

    def snapshot(self) -> Iterator[StoredBlocks]:
        """All that has been told of and is there: parents before children, runs of blocks together."""
        return self._records(list(self._told))

    def _forget(self, names: set[int]) -> tuple[int, ...]:
        """Blocks are gone, and nobody reaches those behind them: returns all of these, children before parents."""
        if not names:
            return ()
        gone: dict[int, None] = {}
        for name, block in self._told.items():
            if name in names or block.parent in gone:
                gone[name] = None
        for name in gone:
            del self._told[name]
        return tuple(reversed(gone))

    def _records(self, names: list[int]) -> Iterator[StoredBlocks]:
        run: list[int] = []
        for name in names:
            block = self._told[name]
            goes_on = run and block.parent == run[-1] and block.scope == self._told[run[0]].scope
            if run and (not goes_on or len(run) == SNAPSHOT_BLOCKS):
                yield self._record(run)
                run = []
            run.append(name)
        if run:
            yield self._record(run)

    def _record(self, run: list[int]) -> StoredBlocks:
        blocks = [self._told[name] for name in run]
        tokens = b"".join(block.tokens for block in blocks)
        return StoredBlocks(tuple(run), blocks[0].parent, tokens, blocks[0].scope, STORAGE)

    def _scope(self, event: StoreAnswered, end: int) -> str | None:
        """Whose a block is that ends at a position: a name; None: everyone's."""
        root = self._hasher.root(event.namespace)
        if event.owner is not None and event.private_from < end:
            return f"{self._hasher.door(root, 0, event.owner):016x}"
        return None if event.namespace == self._shared else f"{root:016x}"


class StoredNames:
    """Names of the blocks that the stores below one cache were last said to have: ``snapshot`` has them. Not thread-safe.

    block_size
        Of the cache.
    most
        So many are kept; those that were told of least recently go.
    """

    def __init__(self, block_size: int, most: int = MOST_NAMES):
        self._hasher = BlockHasher(block_size)
        self._most = most
        self._names: dict[int, None] = {}  # told of least recently first

    def __call__(self, event: StoreAnswered) -> tuple[BlockHashes, BlockHashes]:
        """The names of an answer's blocks: those that are there, and those that are not."""
        private = None if event.owner is None else PrivatePart(event.private_from, event.owner)
        names = self._hasher.prompt(event.namespace, event.tokens, private)
        size = self._hasher.block_size
        there, gone = names[event.start // size : event.until // size], names[event.until // size :]
        for name in gone.tolist():
            self._names.pop(name, None)
        for name in there.tolist():
            self._names.pop(name, None)
            self._names[name] = None
        for name in list(islice(self._names, max(len(self._names) - self._most, 0))):
            del self._names[name]
        return there, gone

    def snapshot(self) -> BlockHashes:
        """All that are known to be there."""
        return np.fromiter(self._names, np.uint64, len(self._names))
