"""The pack that is being written: blocks go into it until it is full or old enough, then it is finished.

Its own process finds them in it at once.
"""

import time
from collections.abc import Callable, Iterable

from foreword.tiers.base import BlockKey, Pieces
from foreword.tiers.checksum import checksum
from foreword.tiers.identity import Identity
from foreword.tiers.pack_file import PackWriter
from foreword.tiers.pack_folder import PackFolder, UnfinishedPack
from foreword.tiers.pack_index import Place


class PackAppender:
    """One unfinished pack of a folder at a time, begun when there is something to write. One thread at a time may write.

    Any thread may ask where blocks lie. An OSError loses the blocks of the pack that is being written, and none of others.
    """

    def __init__(self, folder: PackFolder, identity: Identity, clock: Callable[[], float] = time.monotonic):
        self._folder = folder
        self.identity = identity
        self._clock = clock
        self._pack: UnfinishedPack | None = None
        self._writer: PackWriter | None = None
        self._places: dict[bytes, Place] = {}
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
        return name in self._places

    def find(self, names: Iterable[bytes]) -> dict[bytes, Place]:
        """Where blocks lie in the pack; those it does not have are left out."""
        places = self._places
        return {name: places[name] for name in names if name in places}

    def append(self, key: BlockKey, pieces: Pieces, kept_until: float) -> None:
        """Write a block behind the others."""
        try:
            if self._writer is None or self._pack is None:
                self._pack, self._begun = self._folder.begin(), self._clock()
                self._writer = PackWriter(self._pack.descriptor, self.identity)
            block = self._writer.append(key, pieces, checksum(pieces), kept_until)
            place = Place(self._pack.file, self.identity.digest, block.offset, block.length, block.checksum, block.tokens)
            self._places[key.name] = place
        except OSError:
            self.abandon()
            raise

    def finish(self) -> str | None:
        """Finish the pack, so that it survives whatever comes; returns its name, None if none was begun.

        Where its blocks lay is told until ``forget``, so that they are found until the index has them.
        """
        if self._writer is None or self._pack is None:
            return None
        try:
            self._writer.finish()
            file = self._folder.publish(self._pack)
        except OSError:
            self.abandon()
            raise
        self._pack = self._writer = None
        return file

    def forget(self) -> None:
        """The blocks of the finished pack are found elsewhere now."""
        self._places = {}

    def abandon(self) -> None:
        """Remove the pack that is being written."""
        if self._pack is not None:
            self._folder.abandon(self._pack)
        self._pack = self._writer = None
        self.forget()
