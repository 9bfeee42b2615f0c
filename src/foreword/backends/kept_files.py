"""Files kept in a folder between runs: compiled kernels, what a start has found out. Only what this user wrote is trusted.

What is read is machine code, or stands for a check. A file is named by the digest of all that it depends on, and begins with
a digest of that name and of its content. One that is damaged, or that anybody else owns or may write to, is as good as none.
Files are written beside and renamed, so several processes may share a folder; the least recently used go when it grows too
large.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger("foreword")

MAX_BYTES = 16 * 2**20
"""Of all files together. The kernels of an engine take about 40 kB."""
SUFFIX, UNFINISHED = ".kept", ".unfinished"
DIGEST = hashlib.sha256
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class KeptFiles:
    """Contents by key, in files that only this user can read or write. What cannot be read or kept is no error."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, what: str = "Compiled kernels"):
        """``what`` the files hold, for the log."""
        self.path = path
        self._what = what
        self.max_bytes = max_bytes
        self._reported = False

    def get(self, key: str) -> bytes | None:
        """What was put under this key, or None."""
        try:
            with self._opened() as folder:
                kept = _read(key + SUFFIX, folder)
                begin, content = kept[: DIGEST().digest_size], kept[DIGEST().digest_size :]
                if begin != _digest(key, content):
                    raise ValueError(f"{key}{SUFFIX} is damaged")
                with suppress(OSError):  # it may be read where nothing can be written
                    os.utime(key + SUFFIX, dir_fd=folder)
                return content
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._report(error)
            return None

    def put(self, key: str, content: bytes) -> None:
        """Keep a content under a key; others that were not used for longest go if it is too much."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                beside = f"{key}.{os.urandom(8).hex()}{UNFINISHED}"
                try:
                    _write(beside, folder, _digest(key, content) + content)
                    with suppress(FileNotFoundError):  # another process needed the room
                        os.rename(beside, key + SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
                finally:
                    _remove(beside, folder)
                self._drop_old(folder)
        except (OSError, ValueError) as error:
            self._report(error)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, if it is this user's alone to write to; what is done in it is done in the one that was looked at."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_own(os.fstat(folder), "the folder")
            yield folder
        finally:
            os.close(folder)

    def _drop_old(self, folder: int) -> None:
        """Down to ``max_bytes``, the newest first; unfinished files of processes that ended count too."""
        files = []
        for name in os.listdir(folder):
            if name.endswith((SUFFIX, UNFINISHED)):
                with suppress(FileNotFoundError):  # another process may drop it too
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    files.append((found.st_mtime_ns, name, found.st_size))
        total = 0
        for _, name, size in sorted(files, reverse=True):
            total += size
            if total > self.max_bytes:
                _remove(name, folder)

    def _report(self, error: Exception) -> None:
        """Once: every file would say the same."""
        if not self._reported:
            self._reported = True
            logger.warning("%s in %s cannot be used, they are made anew: %s", self._what, self.path, error)


def _digest(key: str, content: bytes) -> bytes:
    return DIGEST(key.encode() + b"\0" + content).digest()


def _check_own(found: os.stat_result, what: str) -> None:
    if found.st_uid != os.geteuid():
        raise ValueError(f"{what} belongs to user {found.st_uid}, not to {os.geteuid()}; remove it")
    if found.st_mode & OTHERS_WRITE:
        raise ValueError(
            f"others may write to {what} (mode {stat.S_IMODE(found.st_mode):o}); take that right away, or remove it"
        )


def _read(name: str, folder: int) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{name} is no file")
        _check_own(found, name)
        return opened.read()


def _remove(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _write(name: str, folder: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as opened:
        opened.write(content)
