"""From the lines of a log to requests: lines become records (documents.py), each record goes to the first reader that knows
it (log.py; one file a kind), and bodies are read by their form (body.py; one file each).

A reader may hold a conversation back until its next lines tell more; nothing else is remembered.
"""

from foreword.audit.readers.base import LogLineError, LogReader
from foreword.audit.readers.batch import BatchAnswers
from foreword.audit.readers.documents import NEXT_FILE, UNREADABLE, parse_line
from foreword.audit.readers.envelope import read_record
from foreword.audit.readers.log import LogPass, ReadKind
from foreword.audit.readers.server_log import ServerFigures

__all__ = [
    "NEXT_FILE",
    "UNREADABLE",
    "BatchAnswers",
    "LogLineError",
    "LogPass",
    "LogReader",
    "ReadKind",
    "ServerFigures",
    "parse_line",
    "read_record",
]
