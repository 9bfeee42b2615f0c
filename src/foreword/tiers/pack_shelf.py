"""The finished packs of a folder and their index, kept in step: other processes write and remove packs too."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from foreword.tiers.pack_file import NewerPack, UnreadablePack, read_contents
from foreword.tiers.pack_folder import INDEX, PackFolder
from foreword.tiers.pack_index import PackIndex, ReadPack, is_full

logger = logging.getLogger("foreword")

LOOK_AGAIN_SECONDS = 1.0
AT_ONCE = 8
"""New packs whose footers whoever asks waits for; more are read by a thread."""
IN_A_TRANSACTION = 32
"""Packs that are entered together; whoever asks the index meanwhile waits."""


class FolderGone(OSError):
    """The folder was removed, or another one is in its place."""


class PackShelf:
    """Finished packs and where their blocks lie. OSError and sqlite3.Error as of the system."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self.folder = PackFolder(path)
        self.index = PackIndex(path / INDEX)
        self._clock = clock
        self._looked, self._seen_change = -LOOK_AGAIN_SECONDS, 0
        self._passed_over: set[str] = set()
        self._reading: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()

    def look_again(self, at_once: bool = False) -> None:
        """Enter what others have finished and take out what they removed; cheap if there is nothing.

        Once a second at most, but for ``at_once``, as after a failure.

        Footers of many packs, as at a start without an index, are read by a thread; their blocks are found bit by bit.
        """
        now = self._clock()
        with self._lock:
            if now - self._looked < LOOK_AGAIN_SECONDS and not at_once:
                return
            self._looked = now
            changed = self.folder.changed_at()
            if changed is None:
                raise FolderGone(f"{self.folder.path} is gone")
            if changed == self._seen_change or (self._reading is not None and self._reading.is_alive()):
                return
            self._seen_change = changed
            new = self._changes()
            if len(new) > AT_ONCE:
                self._reading = threading.Thread(target=self._enter_all, args=[new], name="foreword-footers", daemon=True)
                self._reading.start()
                return
        self._enter_all(new)

    def read_all(self) -> None:
        """Enter all packs that are there, now."""
        if self._reading is not None:
            self._reading.join()
        self._enter_all(self._changes())

    def enter(self, file: str) -> None:
        """Read a pack's footer into the index; take it out if it is gone or cannot be read."""
        pack = self._read(file)
        if pack is None:
            self.index.drop(file)
        else:
            self.index.add([pack])

    def keep(self, names: Collection[bytes], until: float) -> None:
        """Packs of these blocks are kept until then (seconds since 1970), at least, also if the index is lost."""
        for file in self.index.keep(names, until):
            self.folder.keep(file, until)

    def remove(self, file: str) -> None:
        """Remove a pack and all it counts for."""
        self.folder.remove(file)
        self.index.drop(file)

    def close(self) -> None:
        """Stop reading and close the index."""
        self._closing.set()
        if self._reading is not None:
            self._reading.join()
        self.index.close()

    def _changes(self) -> list[str]:
        """Takes out what is gone; returns packs that are not entered yet, in the order in which they were finished."""
        there, entered = self.folder.packs(), self.index.files()
        for file in entered - there:
            self.index.drop(file)
        return self.folder.oldest_first(there - entered - self._passed_over)

    def _enter_all(self, files: list[str]) -> None:
        for at in range(0, len(files), IN_A_TRANSACTION):
            if self._closing.is_set():
                return
            packs = map(self._read, files[at : at + IN_A_TRANSACTION])
            try:
                self.index.add([pack for pack in packs if pack is not None])
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                logger.warning("Packs in %s cannot be entered in the index now: %s.", self.folder.path, error)

    def _read(self, file: str) -> ReadPack | None:
        """A pack's footer; None if it is gone, cannot be read now, is left alone or was set aside."""
        try:
            with self.folder.reading(file) as descriptor:
                size, kept_until = os.fstat(descriptor).st_size, self.folder.kept_until(file)
                return ReadPack(file, size, read_contents(descriptor), kept_until)
        except NewerPack as error:
            logger.warning("The pack %s in %s is left alone: %s.", file, self.folder.path, error)
            self._passed_over.add(file)
        except UnreadablePack as error:
            logger.warning("The pack %s in %s is set aside: %s.", file, self.folder.path, error)
            self._passed_over.add(file)
            self.folder.set_aside(file)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("The pack %s in %s cannot be read now: %s.", file, self.folder.path, error)
            self._seen_change = 0  # it is tried again
        return None
