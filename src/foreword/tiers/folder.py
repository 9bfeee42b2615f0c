"""Blocks in a folder that machines share (NFS, a volume): a file for each, written beside and renamed."""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from foreword.errors import StoreFailed
from foreword.tiers.base import BlockKey, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.pack_folder import make_folder
from foreword.tiers.pieces import read_pieces, write_pieces
from foreword.tiers.value_format import open_value, value_pieces

SUFFIX, UNFINISHED = ".kv", ".tmp"
MODE = 0o600


class SharedFolder:
    """A BlockStore of files ``<path>/ab/abcd....kv``. Whoever owns the folder makes room in it (as by find -atime)."""

    def __init__(self, path: Path, identity: Identity):
        """StoreFailed if the folder is not there and cannot be made."""
        self.path = path
        self._identity = identity
        self._written = 0
        try:
            make_folder(path)
        except OSError as error:
            raise self._failed(error) from error

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks have a file."""
        try:
            return [self._file(name).exists() for name in names]
        except OSError as error:
            raise self._failed(error) from error

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read the blocks' files."""
        return [self._get(key, pieces) for key, pieces in zip(keys, into, strict=True)]

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write a file for each; ``keep_until`` is up to whoever makes room in the folder."""
        del keep_until
        for key, pieces in zip(keys, blocks, strict=True):
            if not self._file(key.name).exists():
                try:
                    self._put(key, pieces)
                except OSError as error:
                    raise self._failed(error) from error
        return len(keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove the blocks' files."""
        removed = 0
        for name in set(names):
            try:
                self._file(name).unlink()
                removed += 1
            except FileNotFoundError:
                pass
            except OSError as error:
                raise self._failed(error) from error
        return removed

    def flush(self) -> None:
        """Nothing is left to do: a block that was taken has its file."""

    def usage(self) -> StoreUsage:
        """What this process has written; what lies in the folder is not counted."""
        return StoreUsage(written_bytes=self._written)

    def close(self) -> None:
        """Nothing is held open."""

    def _get(self, key: BlockKey, into: Pieces) -> Outcome:
        try:
            descriptor = os.open(self._file(key.name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Outcome.MISSING
        except OSError:
            return Outcome.FAILED
        try:
            value = memoryview(bytearray(os.fstat(descriptor).st_size))
            whole = read_pieces(descriptor, 0, [value])
        except OSError:
            return Outcome.FAILED
        finally:
            os.close(descriptor)
        outcome = open_value(value, key, into, self._identity.digest) if whole else Outcome.CORRUPT
        if outcome is Outcome.CORRUPT:
            with suppress(OSError):
                self._file(key.name).unlink()  # so that it is written again
        return outcome

    def _put(self, key: BlockKey, pieces: Pieces) -> None:
        file = self._file(key.name)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        beside = file.with_suffix(f".{secrets.token_hex(8)}{UNFINISHED}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            value = value_pieces(key, pieces, self._identity.digest)
            write_pieces(descriptor, 0, value)
            os.fdatasync(descriptor)
            beside.rename(file)
            self._written += sum(map(len, value))
        except OSError:
            with suppress(OSError):
                beside.unlink()
            raise
        finally:
            os.close(descriptor)

    def _file(self, name: bytes) -> Path:
        text = name.hex()
        return self.path / text[:2] / f"{text}{SUFFIX}"

    def _failed(self, error: OSError) -> StoreFailed:
        return StoreFailed(f"The shared folder {self.path} failed: {error}.")
