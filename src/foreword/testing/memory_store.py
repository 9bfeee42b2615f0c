"""A store in this process's memory: the plainest that keeps to what BlockStore says."""

import threading
from collections.abc import Sequence

from foreword.tiers.base import BlockKey, Outcome, Pieces, StoreUsage


class MemoryStore:
    """A BlockStore of bytes in a dictionary."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, tuple[BlockKey, bytes]] = {}
        """Key and KV of each block, by its name."""
        self._written = 0
        self._lock = threading.Lock()

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there."""
        return [name in self.blocks for name in names]

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Copy blocks into memory."""
        return [self._get(key, pieces) for key, pieces in zip(keys, into, strict=True)]

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Copy blocks; nothing is ever removed to make room, so ``keep_until`` changes nothing."""
        del keep_until
        with self._lock:
            for key, pieces in zip(keys, blocks, strict=True):
                if key.name not in self.blocks:
                    self.blocks[key.name] = (key, b"".join(pieces))
                    self._written += sum(map(len, pieces))
        return len(keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks."""
        with self._lock:
            return sum(self.blocks.pop(name, None) is not None for name in names)

    def flush(self) -> None:
        """Nothing is left to do."""

    def usage(self) -> StoreUsage:
        """What it holds."""
        held = list(self.blocks.values())
        return StoreUsage(len(held), sum(len(kv) for _, kv in held), written_bytes=self._written)

    def close(self) -> None:
        """Nothing is held open."""

    def _get(self, key: BlockKey, into: Pieces) -> Outcome:
        there, kv = self.blocks.get(key.name, (key, None))
        if kv is None:
            return Outcome.MISSING
        if there.tokens != key.tokens or len(kv) != sum(map(len, into)):
            return Outcome.OTHER
        at = 0
        for piece in into:
            piece[:] = kv[at : at + len(piece)]
            at += len(piece)
        return Outcome.FOUND
