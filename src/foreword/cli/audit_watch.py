"""foreword audit --watch: reads a log that grows again and again, and tells each finding once, when it becomes true."""

import os
import select
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from foreword.audit import Finding, Report
from foreword.cli.audit_input import STANDARD_INPUT, LogFile, files_of
from foreword.errors import ParameterError

POLL_SECONDS = 0.5
REST = 4
"""Times as long as an audit took until the next one: a fifth of a core at most, however long the log has become."""
CHUNK = 2**16


class GrowingLog:
    """Files and directories that others write to, or standard input, which is copied to a temporary file as it comes."""

    def __init__(self, logs: Sequence[Path], spool: IO[bytes] | None):
        self._logs = logs
        self._spool = spool
        self._seen: list[tuple[str, int]] = []
        self.ended = False

    def files(self) -> list[LogFile]:
        """All files there are now."""
        if self._spool is not None:
            return [LogFile(Path(self._spool.name), "stdin")]
        return [file for log in self._logs for file in files_of(log)]

    def has_grown(self, seconds: float) -> bool:
        """Wait so long, and say whether anything is new; at once at the end of standard input."""
        if self._spool is None:
            time.sleep(seconds)
        else:
            self._copy(self._spool, time.monotonic() + seconds)
        sizes = [(str(file.path), file.path.stat().st_size) for file in self.files() if file.path.exists()]
        grown = sizes != self._seen and any(size for _, size in sizes)
        self._seen = sizes
        return grown

    def _copy(self, spool: IO[bytes], until: float) -> None:
        source = sys.stdin.fileno()
        while not self.ended and (left := until - time.monotonic()) > 0:
            if select.select([source], [], [], left)[0]:
                data = os.read(source, CHUNK)
                self.ended = not data
                spool.write(data)
        spool.flush()


@contextmanager
def growing_log(logs: Sequence[Path]) -> Iterator[GrowingLog]:
    """The log to watch. ParameterError for one that is not there, and for standard input beside others."""
    with ExitStack() as stack:
        if STANDARD_INPUT in logs:
            if len(logs) > 1:
                raise ParameterError("--watch reads standard input (-) or files, not both; give one of them.")
            yield GrowingLog((), stack.enter_context(tempfile.NamedTemporaryFile(prefix="foreword-audit-")))
            return
        for log in logs:
            if not log.is_file() and not log.is_dir():
                raise ParameterError(f"{log} is not a file or a directory, so it cannot be watched; - is standard input.")
        yield GrowingLog(logs, None)


def watch(
    log: GrowingLog, audited: Callable[[list[LogFile]], Report], tell: Callable[[Finding], None], known: frozenset[str]
) -> tuple[int, int]:
    """Audit what is there whenever there is more, until standard input ends or Ctrl-C comes; ``tell`` gets what is new.

    Returns how many requests there were in the end, and how many findings were told.
    """
    told, rest, requests = set(known), POLL_SECONDS, 0
    try:
        while not log.ended:
            if not log.has_grown(rest):
                continue
            start = time.monotonic()
            report = audited(log.files())
            requests = report.totals.requests
            for finding in report.findings:
                if finding.fingerprint not in told:
                    told.add(finding.fingerprint)
                    tell(finding)
            rest = max(POLL_SECONDS, REST * (time.monotonic() - start))
    except KeyboardInterrupt:
        pass
    return requests, len(told) - len(known)
