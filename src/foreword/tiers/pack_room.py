"""Room for what is to be written: limits, the day's budget, and which packs go."""

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from foreword.tiers.base import BlockKey
from foreword.tiers.checksum import checksum
from foreword.tiers.pack_appender import PackAppender
from foreword.tiers.pack_file import EMPTY_BYTES, UnreadablePack, read_contents
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.pack_shelf import PackShelf
from foreword.tiers.pieces import read_pieces

COPIED_SHARE = 0.1
"""What is copied forward, of what was written: write amplification stays below 1 + this."""


@dataclass
class PackCounts:
    """Bytes of blocks that this process has written for others, and again to make room."""

    written_bytes: int = 0
    copied_bytes: int = 0


class PackRoom:
    """Keeps the packs of a shelf within their limits, and counts what is written. For one thread at a time."""

    def __init__(
        self,
        shelf: PackShelf,
        appender: PackAppender,
        options: PackOptions,
        counts: PackCounts,
        now: Callable[[], float],
    ):
        self._shelf = shelf
        self._appender = appender
        self._options = options
        self._counts = counts
        self._now = now

    def make(self, size: int) -> int:
        """Remove packs until ``size`` bytes may be written; returns how many may, if there is no room for all.

        For no batch more than half of what there may be goes, and nothing where that would bring no room.
        """
        size = min(size, self._options.max_bytes // 2)
        size += EMPTY_BYTES * (size // self._options.full_pack)  # a batch may end in another pack, and another one
        self._evict_down_to(size)
        allowed = min(size, self._left())
        if self._options.daily_bytes is not None:
            allowed = min(allowed, self._options.daily_bytes - self.written_today())
        return max(allowed, 0)

    def count_written(self, size: int) -> None:
        """So many bytes of blocks have been written."""
        self._counts.written_bytes += size
        self._shelf.index.count_written(self._today(), size)

    def written_today(self) -> int:
        """Bytes that all processes have written to the folder since midnight UTC."""
        return self._shelf.index.written(self._today())

    def copy(self, file: str, names: Collection[bytes], most: int) -> None:
        """Append blocks of a finished pack to the one that is being written, up to ``most`` bytes; damaged ones are left."""
        left = most
        with suppress(UnreadablePack, FileNotFoundError), self._shelf.folder.reading(file) as descriptor:
            contents = read_contents(descriptor)
            if contents.identity.digest != self._appender.identity.digest:
                return
            for block in contents.blocks:
                if block.name not in names or block.length > left:
                    continue
                pieces = [memoryview(bytearray(block.length))]
                if read_pieces(descriptor, block.offset, pieces) and checksum(pieces) == block.checksum:
                    key = BlockKey(block.name, block.parent, block.tokens)
                    self._appender.append(key, pieces, block.kept_until)
                    left -= block.length
        self._counts.copied_bytes += most - left
        self._shelf.index.count_written(self._today(), most - left)

    def _evict_down_to(self, size: int) -> None:
        """Remove packs until ``size`` bytes are left; none if all would not do, as on a disk that others have filled."""
        left = self._left()
        if left + self._shelf.index.totals()[1] < size:
            return
        while left < size and (pack := self._shelf.index.least_used(self._now())) is not None:
            self._evict(pack)
            before, left = left, self._left()
            if left <= before:  # others take what is freed, or the system frees it later
                return

    def _evict(self, pack: str) -> None:
        """Remove a pack. Its blocks that are used more than most are copied forward, as far as that may cost."""
        hot = self._shelf.index.names_in(pack, hot=True)
        budget = int(COPIED_SHARE * self._counts.written_bytes) - self._counts.copied_bytes
        if hot and budget > 0:
            self.copy(pack, frozenset(hot), min(budget, self._shelf.index.size_of(pack) // 2))
        self._shelf.remove(pack)

    def _left(self) -> int:
        _, used = self._shelf.index.totals()
        left = self._options.max_bytes - used - (self._appender.size or EMPTY_BYTES)
        return min(left, self._shelf.folder.free_bytes() - self._options.min_free_bytes)

    def _today(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self._now()))
