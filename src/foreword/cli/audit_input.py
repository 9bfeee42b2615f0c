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


@contextmanager
def log_files(logs: Sequence[Path], console: Console) -> Iterator[list[LogFile]]:
    """All files of some logs: of a directory all that are in it, by name. ParameterError for one that has none."""
    with ExitStack() as stack:
        files: list[LogFile] = []
        for log in logs:
            if log.is_dir():
                found = sorted(path for path in log.rglob("*") if path.is_file())
                if not found:
                    raise ParameterError(f"There is no file in the directory {log}; give a log, or a directory of logs.")
                files += [LogFile(path, str(path.relative_to(log))) for path in found]
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
    """A file to be read by ``log_lines``."""
    return cast(io.BufferedReader, path.open("rb", buffering=PEEKED))


def log_lines(raw: io.BufferedReader, name: str, longest: int) -> Iterator[bytes | str]:
    """The lines of a log, unpacked, and decoded if the beginning says that they are not UTF-8. ``name`` is for errors."""
    try:
        with _decoded(_unpacked(raw)) as stream:
            while line := stream.readline(longest):
                yield line
                while len(line) == longest and line[-1:] not in ("\n", b"\n"):
                    line = stream.readline(longest)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ParameterError(f"{name} cannot be read to its end: {error}.") from error


def _decoded(stream: io.BufferedReader) -> io.BufferedReader | io.TextIOWrapper:
    """A log in UTF-16 or UTF-32, or with lines that end in a carriage return alone, as text; any other, as it is."""
    head = stream.peek(PEEKED)
    for beginning, encoding in ENCODINGS:
        if head.startswith(beginning):
            return io.TextIOWrapper(stream, encoding=encoding, errors="replace")
    if b"\r" in head and b"\n" not in head:
        return io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
    return stream


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
        raise ParameterError(
            "The log is packed with zstd, which needs the package zstandard: pip install zstandard, or unpack it (zstd -d)."
        ) from None
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return io.BufferedReader(_ZstdErrors(reader, zstandard.ZstdError))


class _ZstdErrors(io.RawIOBase):
    """Passes on what a zstd reader gives; its errors become OSError, as with the other packers."""

    def __init__(self, reader: Any, error: type[Exception]):
        self._reader, self._error = reader, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data: bytes = self._reader.read(len(buffer))
        except self._error as error:
            raise OSError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)


PACKED: tuple[tuple[bytes, Callable[[io.BufferedReader], io.BufferedReader]], ...] = (
    (b"\x1f\x8b", lambda raw: cast(io.BufferedReader, gzip.GzipFile(fileobj=raw))),
    (b"BZh", lambda raw: cast(io.BufferedReader, bz2.BZ2File(raw))),
    (b"\xfd7zX", lambda raw: cast(io.BufferedReader, lzma.LZMAFile(raw))),  # noqa: SIM115 (closed with raw)
    (b"(\xb5/\xfd", _zstd),
)
"""The first bytes of packed files, and what unpacks them."""
