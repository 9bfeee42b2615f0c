"""A trace of one's own requests in a file, written by a thread of its own. What is in it: foreword.replay.trace_writer."""

import os
import queue
import secrets
import threading
import time
from functools import partial
from io import FileIO
from pathlib import Path

from foreword.errors import ConfigError
from foreword.events import Event, RequestFinished
from foreword.replay.trace_writer import TraceWriter
from foreword.replay.traces import FORMAT
from foreword.serving.log import Log

BEGINNING = f'{{"format":"{FORMAT}"'.encode()
WAITING_BYTES = 64 * 2**20
"""Tokens, in bytes, of requests that have ended and are not written yet; beyond it requests are left out."""


class TraceFile:
    """Writes a line for every request that ends. Made once a server.

    file
        What ``open_trace`` gives.
    start
        The engine's clock now, in seconds.
    dropped
        Requests that are missing in the file: the disk was too slow, or full.
    """

    def __init__(self, file: FileIO, start: float, log: Log, waiting_bytes: int = WAITING_BYTES):
        self.dropped = 0
        self._file = file
        self._log = log
        self._room = waiting_bytes
        self._lock = threading.Lock()  # over _room and dropped
        self._events: queue.SimpleQueue[RequestFinished | None] = queue.SimpleQueue()
        self._lines: list[str] = []
        self._writer = TraceWriter(self._lines.append, secrets.token_bytes(32), start, time.time())
        self._thread = threading.Thread(target=self._write, name="foreword-trace", daemon=True)
        self._thread.start()

    def sink(self, event: Event) -> None:
        """Take an event; costs the engine's thread next to nothing."""
        if not isinstance(event, RequestFinished):
            return
        size = len(event.tokens) + len(event.generated)
        with self._lock:
            if size > self._room:
                self.dropped += 1
                return
            self._room -= size
        self._events.put(event)

    def close(self, timeout: float = 30.0) -> None:
        """Write what waits, and say in the log how many requests are missing."""
        self._events.put(None)
        self._thread.join(timeout)
        if self.dropped:
            self._log.warning("requests are missing in the trace", file=str(self._file.name), missing=self.dropped)

    def _write(self) -> None:
        with self._file:
            self._put()
            while (event := self._events.get()) is not None:
                self._writer(event)
                with self._lock:
                    self._room += len(event.tokens) + len(event.generated)
                self._put()

    def _put(self) -> None:
        """Append the lines that wait, whole or not at all."""
        data = memoryview("".join(f"{line}\n" for line in self._lines).encode())
        size = self._file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._file.truncate(size)
            with self._lock:
                first, self.dropped = not self.dropped, self.dropped + len(self._lines)
            if first:
                self._log.error("the trace cannot be written", file=str(self._file.name), error=str(error))
        self._lines.clear()


def open_trace(path: Path) -> FileIO:
    """A file to append a trace to, new or continued; a last line that was cut off goes. Only its owner may read a new one.

    ConfigError if it cannot be written, or is something else than a trace of Foreword.
    """
    way_out = "Name a new file, in a folder that exists and that you may write to."
    try:
        file = FileIO(str(path), "a+", opener=partial(os.open, mode=0o600))
        file.seek(0)
        head = file.read(len(BEGINNING))
        if head not in (b"", BEGINNING):
            file.close()
            raise ConfigError(f"trace is {str(path)!r}, which is no trace of Foreword: nothing was written. {way_out}")
        file.truncate(_end_of_last_line(file))
    except OSError as error:
        raise ConfigError(f"trace is {str(path)!r}: it cannot be written: {error.strerror or error}. {way_out}") from error
    return file


def _end_of_last_line(file: FileIO) -> int:
    """How long the file is without a last line that has no end."""
    at = file.seek(0, os.SEEK_END)
    size = at
    while at:
        at = max(0, at - 65536)
        file.seek(at)
        found = file.read(min(65536, size - at)).rfind(b"\n")
        if found >= 0:
            return at + found + 1
    return 0
