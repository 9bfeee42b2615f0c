"""Lines on their way out: queued by whoever writes, written by a thread of their own, so that no reader can stop a writer.

A pipe that nobody reads, a terminal that is held, a full disk: what does not fit the queue is dropped and counted, and told
in one line when it flows again.
"""

import contextlib
import io
import json
import os
import queue
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TextIO

MOST_LINES = 10_000
MOST_CHARACTERS = 4 * 2**20
PATIENCE = 2.0
"""Seconds without any progress after which what is still queued at the end is given up."""


class QueuedOutput(io.TextIOBase):
    """A text stream whose writes never wait. May be written to from any thread, and from a signal's handler.

    target
        Where the text goes. Its file descriptor is written to, past its buffer; where it has none, the stream.
    told
        The line that tells of so many lost lines.
    """

    def __init__(self, target: TextIO, told: Callable[[int], str] | None = None):
        self._target = target
        self._told = told or (_in_words if target.isatty() else _as_event)
        self._descriptor = _descriptor(target)
        self._lock = threading.RLock()
        self._begun = ""  # of a line that has no end yet
        self._queue: deque[str] = deque()
        self._characters = 0
        self._lost = 0  # lines that have not been told of
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._done = 0  # pieces that have gone out
        self._idle = True
        self._closing = False
        self.dropped = 0
        """Lines lost so far."""
        self._thread = threading.Thread(target=self._write_all, name="foreword-output", daemon=True)
        self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the target."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._target.isatty()

    def fileno(self) -> int:
        """The target's file descriptor."""
        return self._target.fileno()

    def write(self, text: str) -> int:
        """Queue a text; what is no whole line waits for its end, or for ``flush``."""
        with self._lock:
            lines, end, rest = (self._begun + text).rpartition("\n")
            self._begun = rest
            if end:
                self._put(lines + end)
        return len(text)

    def flush(self) -> None:
        """Queue what has been written; waits for nobody."""
        if self._begun:
            with self._lock:
                begun, self._begun = self._begun, ""
                self._put(begun)

    def settle(self, patience: float = PATIENCE) -> bool:
        """Wait until all is written, as long as it goes on; False where nothing has moved for ``patience`` seconds."""
        self.flush()
        done, since = self._done, time.monotonic()
        while self._queue or not self._idle:
            if self._done != done:
                done, since = self._done, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            time.sleep(0.002)
        return True

    def finish(self, patience: float = PATIENCE) -> bool:
        """The end: settle, and let the thread go. False where lines were left."""
        settled = self.settle(patience)
        self._closing = True
        self._bell.put(True)
        return settled

    def _put(self, text: str) -> None:
        full = len(self._queue) >= MOST_LINES or self._characters + len(text) > MOST_CHARACTERS
        if full and self._queue:
            self._lose(text)
            return
        self._queue.append(text)
        self._characters += len(text)
        self._bell.put(True)

    def _lose(self, text: str) -> None:
        lines = max(1, text.count("\n"))
        with self._lock:
            self._lost += lines
            self.dropped += lines

    def _write_all(self) -> None:
        while not self._closing:
            self._bell.get()
            self._idle = False
            while self._queue:
                self._write_next()
            self._idle = True

    def _write_next(self) -> None:
        """Write what has waited longest, and tell of what was lost meanwhile."""
        with self._lock:
            text = self._queue.popleft()
            self._characters -= len(text)
        if not self._send(text):
            self._lose(text)
        elif self._lost:
            with self._lock:
                lost, self._lost = self._lost, 0
            if not self._send(self._told(lost) + "\n"):
                self._lost += lost
        self._done += 1

    def _send(self, text: str) -> bool:
        """Write a text, however long it takes; False where it cannot be written: its reader has gone, the disk is full."""
        try:
            if self._descriptor is None:
                self._target.write(text)
                self._target.flush()
                return True
            rest = memoryview(text.encode(self.encoding, "backslashreplace"))
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # somebody made it one that does not wait
                    select.select((), (self._descriptor,), (), 1.0)
        except (OSError, ValueError):
            return False
        return True


@contextlib.contextmanager
def queued_standard_output() -> Iterator[tuple[QueuedOutput, QueuedOutput]]:
    """Standard output and standard error of the process, queued as long as the block lasts; then they are written out."""
    out, err = QueuedOutput(sys.stdout), QueuedOutput(sys.stderr)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err
    finally:
        out.finish()
        err.finish()


def _descriptor(target: TextIO) -> int | None:
    try:
        target.flush()
        return target.fileno()
    except (OSError, ValueError):
        return None


def _in_words(lines: int) -> str:
    return f"{lines} lines were dropped: nothing took them."


def _as_event(lines: int) -> str:
    """As a line of the log."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"event": f"{lines} lines were dropped", "lines": lines, "level": "warning", "timestamp": now})
