"""What every reader of logs is: it knows the records of one kind, and makes requests of them."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from foreword.audit.request import LoggedRequest
from foreword.errors import InputError

Record = Mapping[str, Any]


class LogLineError(InputError):
    """A line of a log that holds no request; the message says why."""


class LogReader(Protocol):
    """A reader of one kind of log. It may remember a conversation's records; each pass over a log has readers of its own."""

    @property
    def kind(self) -> str:
        """What it reads, for people: ``Claude Code session``."""

    def recognises(self, record: Record) -> bool:
        """Whether a record is of this kind, told by its content alone."""

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        """The requests that are known with this record; LogLineError for one that should hold a request and does not."""

    def finish(self) -> Iterable[LoggedRequest]:
        """What is left at the end of a file, of a list, or of the log; the reader then forgets the conversation."""


class Stateless(LogReader):
    """A reader's end for kinds in which every record stands for itself."""

    def finish(self) -> Iterable[LoggedRequest]:
        """Nothing is left."""
        return ()
