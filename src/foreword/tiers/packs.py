"""Blocks in packs of a local folder: written once, read in place, deleted pack by pack."""

import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from foreword.cache.namespace import ModelFingerprint
from foreword.errors import StoreFailed
from foreword.tiers.base import BlockKey, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.pack_appender import PackAppender
from foreword.tiers.pack_file import packed_bytes
from foreword.tiers.pack_folder import is_finished
from foreword.tiers.pack_index import is_full
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.pack_reader import Wanted, read_blocks
from foreword.tiers.pack_room import PackCounts, PackRoom
from foreword.tiers.pack_shelf import FolderGone, PackShelf

logger = logging.getLogger("foreword")

OTHERS = 8
"""Identities that are told beside one's own, at most."""


class LocalPacks:
    """A BlockStore in a folder of this machine. Any number of processes may share the folder.

    A block is there for others once its pack is finished, for this process once it is written. A folder that was removed is
    made anew when something is asked next; packs that are damaged are set aside, and a damaged index is made anew.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        options: PackOptions | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ):
        """``now``: seconds since 1970; it decides only until when a pack is kept, and which day's budget is used.

        ``clock``: seconds that only grow, by which the folder is looked at again and a pack becomes old.
        """
        self.path = path
        self.identity = identity
        self.options = options or PackOptions()
        self._now, self._clock = now, clock
        self._writing = threading.RLock()
        self._refused, self._counts = 0, PackCounts()  # also of folders that have been there before this one
        self._index_failed = self._doubted = False
        with self._failures():
            self._open()

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which blocks this process has written, or are in a finished pack of another one (a second later at most)."""
        with self._failures():
            self._look_again()
            present = self._appender.find(names).keys() | self._shelf.index.present(names)
        return [name in present for name in names]

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read blocks into memory, pack by pack, and check them. Where one is wrong, the index may be: footers are asked."""
        with self._failures():
            self._look_again()
            outcomes = [Outcome.MISSING] * len(keys)
            doubted = self._read(keys, into, range(len(keys)), outcomes)
            if doubted:
                self._read_again(keys, into, doubted, outcomes)
            self._shelf.index.use(
                [key.name for key, outcome in zip(keys, outcomes, strict=True) if outcome == Outcome.FOUND]
            )
        return outcomes

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Append blocks to the pack that is being written."""
        with self._failures(), self._writing:
            self._look_again()
            present = self._shelf.index.present([key.name for key in keys])
            self._shelf.index.use(present)
            if keep_until and present:
                self._shelf.keep(present, keep_until)
            new = {key.name: (key, pieces) for key, pieces in zip(keys, blocks, strict=True) if key.name not in present}
            refused = self._append([each for name, each in new.items() if name not in self._appender], keep_until)
            if self._appender.age >= self.options.finish_seconds:
                self._finish()
            if refused and not self._refused:
                self._tell_refused()
        self._refused += len(refused)
        return sum(key.name not in refused for key in keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks for good: the other blocks of their packs are written to a new one."""
        with self._failures(), self._writing:
            self._look_again()
            self._finish()
            found = self._shelf.index.find(names)
            for file in {place.file for place in found.values()}:
                staying = frozenset(self._shelf.index.names_in(file)) - found.keys()
                if staying:
                    self._room.copy(file, staying, self._shelf.index.size_of(file))
                    self._finish()
                self._shelf.remove(file)
        return len(found)

    def flush(self) -> None:
        """Finish the pack that is being written, however small it is."""
        with self._failures(), self._writing:
            self._finish()

    def usage(self) -> StoreUsage:
        """What the folder holds, and what this process has written."""
        with self._failures():
            self._look_again()
            blocks, used = self._shelf.index.totals()
            return StoreUsage(
                blocks=blocks,
                used_bytes=used,
                max_bytes=self.options.max_bytes,
                written_bytes=self._counts.written_bytes,
                copied_bytes=self._counts.copied_bytes,
                written_today=self._room.written_today(),
                daily_bytes=self.options.daily_bytes,
                refused=self._refused,
                set_aside=len(self._shelf.folder.set_aside_packs()),
                others=self._others(),
            )

    def close(self) -> None:
        """Finish what is being written, and close the index."""
        with self._failures(), self._writing:
            try:
                self._finish()
            finally:
                self._shelf.close()

    def read_all(self) -> None:
        """Wait until the footers of all packs that are there have been read."""
        with self._failures():
            self._shelf.read_all()

    def _others(self) -> tuple[ModelFingerprint, ...]:
        identities = [Identity(*found) for found in self._shelf.index.identities()[:OTHERS]]
        models = [identity.model() for identity in identities if identity.digest != self.identity.digest]
        return tuple(model for model in models if model is not None)

    def _read(
        self, keys: Sequence[BlockKey], into: Sequence[Pieces], numbers: Iterable[int], outcomes: list[Outcome]
    ) -> dict[int, str]:
        """Read some of the blocks; returns which are not what the index says, each with the file it should be in."""
        numbers = list(numbers)
        names = {keys[number].name for number in numbers}
        places = {**self._appender.find(names), **self._shelf.index.find(names)}
        files: dict[str, list[Wanted]] = defaultdict(list)
        doubted = {}
        for number in numbers:
            place = places.get(keys[number].name)
            outcomes[number] = Outcome.MISSING
            if place is not None:
                files[place.file].append(Wanted(number, keys[number], place))
        for file, some in files.items():
            for number, outcome in read_blocks(self._shelf.folder, file, some, into, self.identity.digest):
                outcomes[number] = outcome
                if outcome not in (Outcome.FOUND, Outcome.FAILED):
                    doubted[number] = file
        return doubted

    def _read_again(
        self, keys: Sequence[BlockKey], into: Sequence[Pieces], doubted: Mapping[int, str], outcomes: list[Outcome]
    ) -> None:
        """Read blocks that were not where the index, or the pack that was being written, had them."""
        with self._writing:  # what was being written is finished now, or still there
            for file in filter(is_finished, set(doubted.values())):
                self._shelf.enter(file)
            for number in self._read(keys, into, doubted, outcomes):
                if outcomes[number] is Outcome.CORRUPT:
                    self._shelf.index.forget(keys[number].name)  # so that it is written again

    def _append(self, blocks: Sequence[tuple[BlockKey, Pieces]], keep_until: float) -> set[bytes]:
        """Write blocks as far as there is room; returns the names of those that were refused."""
        sizes = [packed_bytes(key, pieces) for key, pieces in blocks]
        left = allowed = self._room.make(sum(sizes))
        refused = set()
        for (key, pieces), size in zip(blocks, sizes, strict=True):
            if size > left:
                refused.add(key.name)
                continue
            self._appender.append(key, pieces, keep_until)
            left -= size
            if self._appender.size >= self.options.full_pack:
                self._finish()
        self._room.count_written(allowed - left)
        return refused

    def _tell_refused(self) -> None:
        """Once: the counter of refused blocks goes on."""
        options, free = self.options, self._shelf.folder.free_bytes()
        budget = "no budget a day" if options.daily_bytes is None else f"{options.daily_bytes >> 20} MiB a day"
        logger.warning(
            "The store %s does not take all that is stored, but gives what it has: of its disk %d MiB are free, and %d are "
            "to stay so; it may hold %d MiB and write %s.",
            self.path, free >> 20, options.min_free_bytes >> 20, options.max_bytes >> 20, budget,
        )  # fmt: skip

    def _finish(self) -> None:
        file = self._appender.finish()
        if file is None:
            return
        try:
            self._shelf.enter(file)
        except sqlite3.OperationalError as error:
            if is_full(error):
                self._shelf.folder.remove(file)  # a pack that nobody finds only takes room
            raise
        finally:
            self._appender.forget()

    def _look_again(self) -> None:
        """At hand is what lies in the folder now; it is opened anew if it is another one, or its index failed."""
        if not self._index_failed:
            try:
                self._shelf.look_again(at_once=self._doubted)
                self._doubted = False
                return
            except FolderGone as error:
                logger.warning("%s: it is made anew.", error)
        with self._writing:
            self._appender.abandon()
            with suppress(OSError, sqlite3.Error):
                self._shelf.close()
            self._open()
            self._shelf.look_again()

    def _open(self) -> None:
        self._shelf = PackShelf(self.path, self._clock)
        self._appender = PackAppender(self._shelf.folder, self.identity, self._clock)
        self._room = PackRoom(self._shelf, self._appender, self.options, self._counts, self._now)
        self._index_failed = False

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """What the system cannot do, as StoreFailed."""
        try:
            yield
        except sqlite3.Error as error:
            self._index_failed = not is_full(error)
            raise StoreFailed(f"The index of the store {self.path} failed: {error}.") from error
        except OSError as error:
            self._doubted = True
            raise StoreFailed(f"The store {self.path} failed: {error}.") from error
