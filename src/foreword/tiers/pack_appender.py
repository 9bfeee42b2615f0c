"""The pack that is being written: blocks go into it until it is full or old enough, then it is finished."""

import time
from collections.abc import Callable

from foreword.tiers.base import BlockKey, Pieces
from foreword.tiers.identity import Identity
from foreword.tiers.pack_file import PackWriter
from foreword.tiers.pack_folder import PackFolder, UnfinishedPack
from foreword.tiers.pieces import checksum


class PackAppender:
    """One unfinished pack of a folder at a time, begun when there is something to write. For one thread at a time.

    An OSError loses the blocks of the pack that is being written, and none of others.
    """

    def __init__(self, folder: PackFolder, identity: Identity, clock: Callable[[], float] = time.monotonic):
        self._folder = folder
        self.identity = identity
        self._clock = clock
        self._pack: UnfinishedPack | None = None
        self._writer: PackWriter | None = None
        self._names: set[bytes] = set()
        self._begun = 0.0

    @property
    def size(self) -> int:
        """Bytes of the pack so far; 0 if none is begun."""
        return self._writer.size if self._writer else 0

    @property
    def age(self) -> float:
        """Seconds since the pack was begun; 0 if none is."""
        return self._clock() - self._begun if self._writer else 0.0

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def append(self, key: BlockKey, pieces: Pieces, kept_until: float) -> None:
        """Write a block behind the others."""
        try:
            if self._writer is None:
                self._pack, self._begun = self._folder.begin(), self._clock()
                self._writer = PackWriter(self._pack.descriptor, self.identity)
            self._writer.append(key, pieces, checksum(pieces), kept_until)
            self._names.add(key.name)
        except OSError:
            self.abandon()
            raise

    def finish(self) -> str | None:
        """Finish the pack, so that it survives whatever comes; returns its name, None if none was begun."""
        if self._writer is None or self._pack is None:
            return None
        try:
            self._writer.finish()
            file = self._folder.publish(self._pack)
        except OSError:
            self.abandon()
            raise
        self._forget()
        return file

    def abandon(self) -> None:
        """Remove the pack that is being written."""
        if self._pack is not None:
            self._folder.abandon(self._pack)
        self._forget()

    def _forget(self) -> None:
        self._pack = self._writer = None
        self._names = set()
