"""The folder of packs: what lies in it, and how a pack comes into it whole.

0123456789abcdef.pack      finished: written, synced, renamed; never changed
0123456789abcdef.writing   unfinished; its writer has it locked, so one that nobody has locked is left over from a crash
0123456789abcdef.bad       set aside: it could not be read
0123456789abcdef.kept      empty; the time of its change is until when the pack is kept, if its footer names an earlier one
index.sqlite3              where blocks lie; made of the packs
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PACK, WRITING, BAD, KEPT = ".pack", ".writing", ".bad", ".kept"
INDEX = "index.sqlite3"
MODE = 0o600
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Waits for nobody, should a pack be no file but a pipe."""


@dataclass(frozen=True, slots=True)
class UnfinishedPack:
    """A pack that is being written: an open file, locked, and its name without suffix."""

    descriptor: int
    stem: str

    @property
    def file(self) -> str:
        """Its name in the folder, until it is finished."""
        return f"{self.stem}{WRITING}"


def is_finished(file: str) -> bool:
    """Whether a file's name is that of a finished pack."""
    return file.endswith(PACK)


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may read, unless it is there; OSError as of the system."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "something has that name and is no folder", str(path)) from error


class PackFolder:
    """The files of one folder, which is made where it is not there; OSError as of the system."""

    def __init__(self, path: Path):
        self.path = path
        make_folder(path)
        found = path.stat()
        self._made_as = (found.st_dev, found.st_ino)
        self.remove_leftovers()

    def changed_at(self) -> int | None:
        """When something came or went last, in nanoseconds; None if the folder is not the one that was opened any more."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns if (found.st_dev, found.st_ino) == self._made_as else None

    def packs(self) -> set[str]:
        """Names of the finished packs."""
        return set(self._named(PACK))

    def set_aside_packs(self) -> set[str]:
        """Names of those that were set aside."""
        return set(self._named(BAD))

    def oldest_first(self, packs: set[str]) -> list[str]:
        """Packs in the order in which they were finished; those that are gone are left out."""
        times = {}
        for file in packs:
            with suppress(FileNotFoundError):
                times[file] = (self.path / file).stat().st_mtime_ns
        return sorted(times, key=lambda file: (times[file], file))

    @contextmanager
    def reading(self, file: str) -> Iterator[int]:
        """A pack, open to be read; FileNotFoundError if it is gone."""
        descriptor = os.open(self.path / file, READING)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def begin(self) -> UnfinishedPack:
        """A new pack to write, empty and locked."""
        while True:
            stem = secrets.token_hex(8)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self.path / f"{stem}{WRITING}", flags, MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    return UnfinishedPack(descriptor, stem)
            except BlockingIOError:  # somebody takes it for a left-over, as it was not locked yet
                pass
            os.close(descriptor)

    def publish(self, pack: UnfinishedPack) -> str:
        """Give a pack that is written and synced its name, for good; returns it."""
        file = f"{pack.stem}{PACK}"
        (self.path / pack.file).rename(self.path / file)
        self._sync()
        os.close(pack.descriptor)
        return file

    def abandon(self, pack: UnfinishedPack) -> None:
        """Remove a pack that was not finished."""
        os.close(pack.descriptor)
        with suppress(OSError):
            (self.path / pack.file).unlink()

    def set_aside(self, file: str) -> None:
        """Rename a pack that cannot be read, so that nobody tries again."""
        with suppress(OSError):
            (self.path / file).rename(self.path / f"{file.removesuffix(PACK)}{BAD}")

    def keep(self, file: str, until: float) -> None:
        """Note that a pack is kept until then (seconds since 1970), at least."""
        if until > self.kept_until(file):
            note = self._note(file)
            note.touch(MODE)
            os.utime(note, (until, until))

    def kept_until(self, file: str) -> float:
        """Until when a pack is kept by what was noted beside it; 0 where nothing was."""
        try:
            return self._note(file).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove(self, file: str) -> None:
        """Remove a file of any kind, and what was noted beside it; one that is gone is no error."""
        (self.path / file).unlink(missing_ok=True)
        self._note(file).unlink(missing_ok=True)

    def remove_leftovers(self) -> int:
        """Remove packs whose writer ended before they were finished; returns how many."""
        removed = 0
        for file in self._named(WRITING):
            with suppress(OSError), self.reading(file) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(file)
                removed += 1
        return removed

    def free_bytes(self) -> int:
        """What the disk has left for us."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def _note(self, file: str) -> Path:
        return (self.path / file).with_suffix(KEPT)

    def _named(self, suffix: str) -> Iterator[str]:
        with os.scandir(self.path) as entries:
            files = (entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
            yield from [name for name in files if name.endswith(suffix)]

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
