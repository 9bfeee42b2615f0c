"""The requests of a log, kept from its first reading on in a temporary file without a name: no later pass parses anything.

Most of a prompt was sent before, and what was is written by its number: the file grows by what is new.
"""

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from types import TracebackType
from typing import IO

from foreword.audit.recent import PIECE_BYTES
from foreword.audit.request import LoggedPiece, LoggedRequest

PART_BYTES = 2 * 2**20
"""Text and pieces in which what comes again is recognised; writer and reader forget all of them at once."""
_BESIDE = tuple(field.name for field in fields(LoggedRequest) if field.name != "pieces")
_beside = attrgetter(*_BESIDE)
_NEXT_PART = "next part"


class KeptLog:
    """Written while the log is read for the first time. Where there is no room for it, ``complete`` stays False, and the
    log has to be read again. Its pieces are the same objects where they are equal, within a part."""

    def __init__(self, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._file: IO[bytes] | None = None
        self.complete = False

    def __enter__(self) -> "KeptLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def keep(self, requests: Iterable[LoggedRequest]) -> Iterator[LoggedRequest]:
        """The requests as they come, each written as it goes by."""
        self._close()
        with suppress(OSError):
            self._file = tempfile.TemporaryFile(prefix="foreword-audit-")  # noqa: SIM115 (closed with the log)
        part = None if self._file is None else _Part(self._file, self._part_bytes)
        for request in requests:
            if part is None:
                yield request
                continue
            request = part.known(request)
            try:
                part = part.write(request)
            except OSError:  # no room
                self._close()
                part = None
            yield request
        if part is not None:
            with suppress(OSError):
                part.end()
                self.complete = True

    def requests(self) -> Iterator[LoggedRequest]:
        """All requests once more; only when ``complete``."""
        assert self._file is not None
        self._file.seek(0)
        part = pickle.Unpickler(self._file)
        while (row := part.load()) is not None:
            if row == _NEXT_PART:
                part = pickle.Unpickler(self._file)
                continue
            pieces, beside = row
            yield LoggedRequest(pieces=pieces, **dict(zip(_BESIDE, beside, strict=True)))

    def _close(self) -> None:
        self.complete = False
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


class _Part:
    """What is written with one memory of what was written before."""

    def __init__(self, file: IO[bytes], part_bytes: int):
        self._file = file
        self._part_bytes = part_bytes
        self._pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
        self._pieces: dict[LoggedPiece, LoggedPiece] = {}
        self._size = 0

    def known(self, request: LoggedRequest) -> LoggedRequest:
        """The request with the pieces that were written before in place of its own that equal them."""
        before = len(self._pieces)
        pieces = tuple([self._pieces.setdefault(piece, piece) for piece in request.pieces])
        self._size += PIECE_BYTES * len(pieces)
        if len(self._pieces) > before:
            self._size += sum(len(piece.text) for piece, own in zip(pieces, request.pieces, strict=True) if piece is own)
        return request.with_pieces(pieces)

    def write(self, request: LoggedRequest) -> "_Part":
        """Write a request; returns the part that the next one belongs to."""
        self._pickler.dump((request.pieces, _beside(request)))
        if self._size <= self._part_bytes:
            return self
        self._pickler.dump(_NEXT_PART)
        return _Part(self._file, self._part_bytes)

    def end(self) -> None:
        """Nothing more comes."""
        self._pickler.dump(None)
        self._file.flush()
