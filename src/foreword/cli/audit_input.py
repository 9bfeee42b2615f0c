"""The log of an audit: opened anew for each reading, unpacked if need be, from a file or from a pipe."""

import bz2
import codecs
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

from foreword.audit.readers import UNREADABLE
from foreword.audit.readers.documents import WAY
from foreword.errors import ParameterError

STANDARD_INPUT = Path("-")
SPOOL_CHUNK = 2**20
PEEKED = 2**20
"""Bytes in which the ends of lines are looked for; a log is opened with a buffer of so many."""
ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    *(("{".encode(encoding), encoding) for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")),
)
"""What a log begins with that is not UTF-8: a byte order mark, or the first brace. The longer beginnings come first."""


@dataclass(frozen=True)
class LogFile:
    """One file of a log: where it can be read, and its name for people."""

    path: Path
    name: str


def files_of(log: Path) -> list[LogFile]:
    """The files of a directory, by name; a file itself."""
    if not log.is_dir():
        return [LogFile(log, log.name)]
    return [LogFile(path, str(path.relative_to(log))) for path in sorted(log.rglob("*")) if path.is_file()]


@contextmanager
def log_files(logs: Sequence[Path], console: Console) -> Iterator[list[LogFile]]:
    """All files of some logs: of a directory all that are in it, by name. ParameterError for one that has none."""
    with ExitStack() as stack:
        files: list[LogFile] = []
        for log in logs:
            if log.is_dir():
                found = files_of(log)
                if not found:
                    raise ParameterError(f"There is no file in the directory {log}; give a log, or a directory of logs.")
                files += found
            else:
                name = "stdin" if log == STANDARD_INPUT else log.name
                files.append(LogFile(stack.enter_context(log_file(log, console)), name))
        yield files


@contextmanager
def log_file(log: Path, console: Console) -> Iterator[Path]:
    """The log as a file, which can be read several times: what comes from a pipe is first written to a temporary one.

    ParameterError when there is no such file or pipe, or no room for the temporary file.
    """
    if log.is_file():
        yield log
        return
    if log != STANDARD_INPUT and not log.is_fifo():
        raise ParameterError(f"{log} is not a file, a directory or a pipe; give a log, or - for standard input.")
    with tempfile.NamedTemporaryFile(prefix="foreword-audit-") as spool:
        with console.status(f"copying the log to {spool.name}"):
            _spool(log, spool)
        yield Path(spool.name)


def _spool(log: Path, spool: IO[bytes]) -> None:
    try:
        if log == STANDARD_INPUT:
            shutil.copyfileobj(sys.stdin.buffer, spool, SPOOL_CHUNK)
        else:
            with log.open("rb") as source:
                shutil.copyfileobj(source, spool, SPOOL_CHUNK)
        spool.flush()
    except OSError as error:
        raise ParameterError(
            f"The log cannot be copied to {spool.name}: {error}. It is read several times; set TMPDIR to a folder with room "
            f"for all of it, or give the log as a file."
        ) from error


def open_log(path: Path) -> io.BufferedReader:
    """A file to be read by ``log_lines``. ParameterError for one that may not be read."""
    try:
        return cast(io.BufferedReader, path.open("rb", buffering=PEEKED))
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}.") from error


def log_lines(raw: io.BufferedReader, name: str, longest: int) -> Iterator[bytes | str]:
    """The lines of a log, unpacked, and decoded if the beginning says that they are not UTF-8.

    For a line that is too long comes one that begins with UNREADABLE and says so. ParameterError for what is no text, and
    where a damaged file cannot be read on; ``name`` is the file's, for that.
    """
    try:
        with _unpacked(raw) as packed:
            _pass_gap(packed)
            head = packed.peek(PEEKED)[:PEEKED]
            stream = _decoded(packed, head)
            strange = _strange(head) if stream is packed else None
            if strange:
                raise ParameterError(f"{name} is {strange}.")
            yield from _bounded(stream, longest)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ParameterError(f"{name} cannot be read to its end: {error}.") from error


def _pass_gap(stream: io.BufferedReader) -> None:
    """Zeros at the beginning: a log that was cut there, and whose writer went on where it had been."""
    while (head := stream.peek(PEEKED)).startswith(b"\0" * 4):
        stream.read(len(head) - len(head.lstrip(b"\0")))


def _bounded(stream: io.BufferedReader | io.TextIOWrapper, longest: int) -> Iterator[bytes | str]:
    """The lines, of which one that is too long is passed over in pieces."""
    while line := stream.readline(longest):
        if len(line) < longest or line[-1:] in ("\n", b"\n"):
            yield line
            continue
        rest = stream.readline(longest)
        yield f"{UNREADABLE}a line of more than {longest:,} bytes; {WAY}" if rest else line
        while len(rest) == longest and rest[-1:] not in ("\n", b"\n"):
            rest = stream.readline(longest)


def _strange(head: bytes) -> str | None:
    """What a file is that holds no text, by its first bytes; None for a text."""
    for magic, said in NO_LOGS:
        if head.startswith(magic):
            return said
    return "no text" if b"\0" in head[:TELLING] and head.lstrip()[:1] not in (b"{", b"[") else None


def _decoded(stream: io.BufferedReader, head: bytes) -> io.BufferedReader | io.TextIOWrapper:
    """A log in UTF-16 or UTF-32, or with lines that end in a carriage return alone, as text; any other, as it is."""
    for beginning, encoding in ENCODINGS:
        if head.startswith(beginning):
            return io.TextIOWrapper(stream, encoding=encoding, errors="replace")
    if b"\r" in head and b"\n" not in head:
        return io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
    return stream


TELLING = 512
"""First bytes in which a zero says that a file is no text."""
NO_LOGS = (
    (b"PK\x03\x04", "a zip archive: unpack it and give the folder"),
    (b"SQLite format 3", "an SQLite database: export its rows as JSON"),
)
"""First bytes of files in which logs may lie, but cannot be read as they are."""


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    """What is in a packed file, told by its first bytes; a file that is not packed, as it is."""
    head = raw.peek(4)[:4]
    for magic, unpack in PACKED:
        if head.startswith(magic):
            return unpack(raw)
    return raw


def _zstd(raw: io.BufferedReader) -> io.BufferedReader:
    try:
        import zstandard
    except ImportError:
        raise OSError(
            "it is packed with zstd, which needs the package zstandard: pip install zstandard, or unpack it (zstd -d)"
        ) from None
    return io.BufferedReader(_Zstd(raw, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError), PEEKED)


class _Zstd(io.RawIOBase):
    """What is in a zstd file, frame after frame. Its errors are OSError, as with the other packers; so is a cut frame, which
    the library's own reader takes for the end."""

    def __init__(self, raw: io.BufferedReader, frame: Callable[[], Any], error: type[Exception]):
        self._raw, self._new, self._error = raw, frame, error
        self._frame: Any = None
        self._packed = self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            self._packed = self._packed or self._raw.read(ZSTD_CHUNK)
            if not self._packed:
                if self._frame is not None:
                    raise OSError("it ends within a zstd frame")
                return 0
            self._frame = self._frame or self._new()
            try:
                self._held = self._frame.decompress(self._packed)
            except self._error as error:
                raise OSError(str(error)) from error
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


ZSTD_CHUNK = 2**12
"""Bytes that are unpacked at once: a frame may make a hundred thousand times as much of them."""
PACKED: tuple[tuple[bytes, Callable[[io.BufferedReader], io.BufferedReader]], ...] = (
    (b"\x1f\x8b", lambda raw: cast(io.BufferedReader, gzip.GzipFile(fileobj=raw))),
    (b"BZh", lambda raw: cast(io.BufferedReader, bz2.BZ2File(raw))),
    (b"\xfd7zX", lambda raw: cast(io.BufferedReader, lzma.LZMAFile(raw))),  # noqa: SIM115 (closed with raw)
    (b"(\xb5/\xfd", _zstd),
)
"""The first bytes of packed files, and what unpacks them."""
