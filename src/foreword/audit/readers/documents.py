"""From the lines of a log to its records: an object a line, objects of several lines, lists, YAML cassettes, aider's text.

Nothing but the record at hand is held, so a list of any length is read object by object; one that is longer than the longest
line is refused.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from foreword.audit.readers.base import LogLineError, Record
from foreword.audit.readers.text_blocks import TEXT_FORMS, TextForm

NEXT_FILE = "\x1e"
"""A line that parts two files of one log (in JSON text sequences, two records)."""
UNREADABLE = "\x15"
"""What a line begins with that stands for one that could not be read; the reason comes behind."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_OPEN_ENDED = re.compile(r"(?:[\[{,:]|\[\s*\{)\s*$")
_COLUMNS = re.compile(r"\"?[\w. ]+\"?(?:[,;\t]\"?[\w. /()-]+\"?){2,}\Z")
TABLE = "it begins as a table (CSV), which is not read: export the requests as JSON, one object a line or a list of them"
_BEHIND_WORDS = re.compile(r"[\[(]?(\d{4}-\d\d-\d\d[T ][\d:.,]{8,}(?:Z|[+-]\d\d:?\d\d)?)?[^{\"]{1,200}(\{\".*\})\Z")
"""An object behind the words that a logger puts in front of it: a time perhaps, a level, a name."""
_BETWEEN = re.compile(r"[\s,\x1e]*")


@dataclass(frozen=True, slots=True)
class Located:
    """A record, or why there is none, with the line at which it begins.

    ``begins``: it is the first of a file or of a list. ``foreign``: its bytes were not UTF-8.
    """

    line: int
    record: Record | None
    error: LogLineError | None = None
    foreign: bool = False
    begins: bool = False


def text_of(line: bytes | str) -> tuple[str, bool]:
    """A line as text, and whether its bytes were not UTF-8 (then they are read as Windows-1252)."""
    if isinstance(line, str):
        return line.lstrip("\ufeff"), False
    try:
        return line.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace"), True


def parse(text: str) -> Any:
    """The JSON of a text; LogLineError says what is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise LogLineError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise LogLineError(f"not JSON: {error}") from None


def parse_line(line: bytes | str) -> tuple[Record, bool]:
    """The JSON object of a line, and whether its bytes were not UTF-8."""
    text, foreign = text_of(line)
    record = parse(text)
    if not isinstance(record, dict):
        raise LogLineError(f"a JSON {type(record).__name__}, not an object")
    return record, foreign


def parse_row(text: str) -> list[Any]:
    """JSON values that follow each other, with commas or without: two logs glued together, a list without its brackets.

    LogLineError says what is wrong with the first that cannot be read, unless it is the only one.
    """
    values: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise LogLineError("not JSON behind the first value") from None
        values.append(value)
        gap = _BETWEEN.match(text, at)
        at = gap.end() if gap else at
    return values


class Documents:
    """Reads the lines of one pass; ``lines`` is how many there were."""

    def __init__(self, longest: int):
        self.longest = longest
        self.lines = 0
        self._begins = True

    def read(self, lines: Iterable[bytes | str]) -> Iterator[Located]:
        """The records of a log in their order."""
        source = _Source(lines)
        for line, number in source:
            self.lines = source.lines
            if line == NEXT_FILE:
                self._begins = True
                continue
            if isinstance(line, str) and line.startswith(UNREADABLE):
                yield self._one(Located(number, None, LogLineError(line[len(UNREADABLE) :])))
                continue
            text, foreign = text_of(line)
            stripped = text.strip()
            if stripped.startswith(NEXT_FILE):
                self._begins = True
                stripped = stripped[1:].lstrip()
            if not stripped:
                continue
            if stripped in ("[", "]", "],"):
                self._begins = True
                continue
            form = next((form for form in TEXT_FORMS if form.opens.match(stripped)), None) if self._begins else None
            if form is not None:
                yield from self._text(source, form, text, number)
            else:
                yield from self._json(source, stripped, number, foreign)
            self.lines = source.lines

    def _json(self, source: "_Source", stripped: str, number: int, foreign: bool) -> Iterator[Located]:
        """What a line of JSON, or the value that begins in it, holds."""
        try:
            yield from self._located(parse(stripped), number, foreign)
            return
        except LogLineError as error:
            broken = LogLineError(TABLE) if self._begins and _COLUMNS.match(stripped) else error
        if "Extra data" in str(broken):
            try:
                for value in parse_row(stripped):
                    yield from self._located(value, number, foreign)
                return
            except LogLineError:
                pass
        if stripped[0] in "{[" and _OPEN_ENDED.search(stripped):
            found, again = self._document(source, stripped)
            if isinstance(found, LogLineError):
                broken = found
            elif found is not None:
                for value in found:
                    yield from self._located(value, number, foreign)
                return
            source.again(again)
        behind = _BEHIND_WORDS.match(stripped)
        if behind is not None:
            with suppress(LogLineError):
                record = parse(behind[2])
                yield self._one(Located(number, {"timestamp": behind[1], **record} if behind[1] else record, None, foreign))
                return
        yield self._one(Located(number, None, broken, foreign))

    def _document(
        self, source: "_Source", first: str
    ) -> tuple[list[Any] | LogLineError | None, list[tuple[bytes | str, int]]]:
        """JSON values that go over several lines (an error: too many); without one, the lines that were read for its end."""
        text, depth, size = [first], _depth(first), len(first)
        again: list[tuple[bytes | str, int]] = []
        while depth > 0:
            taken = next(source, None)
            if taken is None:
                return None, again
            line, _ = taken
            again.append(taken)
            piece, _ = text_of(line)
            if piece.startswith(('{"', NEXT_FILE, UNREADABLE)):  # a record of its own: the one before was cut
                return None, again
            depth += _depth(piece)
            size += len(piece)
            if size > self.longest:
                return LogLineError(f"one JSON value goes on for more than {self.longest:,} characters; {WAY}"), []
            text.append(piece)
        try:
            return parse_row("".join(text).rstrip().rstrip(",")), again
        except LogLineError:
            return None, again

    def _located(self, value: Any, line: int, foreign: bool) -> Iterator[Located]:
        """The records of a JSON value: itself, or the objects of a list."""
        if isinstance(value, dict):
            yield self._one(Located(line, value, None, foreign))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            self._begins = True
            for one in value:
                yield self._one(Located(line, one, None, foreign))
            self._begins = True
        else:
            yield self._one(Located(line, None, LogLineError(f"a JSON {type(value).__name__}, not an object"), foreign))

    def _one(self, located: Located) -> Located:
        begins, self._begins = self._begins, False
        return Located(located.line, located.record, located.error, located.foreign, begins)

    def _text(self, source: "_Source", form: TextForm, first: str, number: int) -> Iterator[Located]:
        """The records of a file that is no JSON, one block after another; the next block's first line ends a block."""
        block, start, size = ([first], number, len(first)) if form.starts.match(first) else ([], number, 0)
        for line, at in source:
            text, _ = text_of(line)
            if text.startswith((NEXT_FILE, UNREADABLE)):
                source.again([(line, at)])
                break
            if form.starts.match(text):
                if block:
                    yield self._block(form, block, start, size)
                block, start, size = [text], at, len(text)
            elif form.ends is not None and form.ends.match(text):
                if block:
                    yield self._block(form, block, start, size)
                block, size = [], 0
            elif block:
                size += len(text)
                if size <= self.longest:
                    block.append(text)
        if block:
            yield self._block(form, block, start, size)

    def _block(self, form: TextForm, block: list[str], line: int, size: int) -> Located:
        if size > self.longest:
            return self._one(Located(line, None, LogLineError(f"more than {self.longest:,} characters in one block; {WAY}")))
        try:
            return self._one(Located(line, form.record("".join(block))))
        except LogLineError as error:
            return self._one(Located(line, None, error))


WAY = "write one request a line, or raise --longest-line"


class _Source:
    """The lines with their numbers; those that were read ahead can be given back. What parts two files is not counted."""

    def __init__(self, lines: Iterable[bytes | str]):
        self._lines = iter(lines)
        self._held: list[tuple[bytes | str, int]] = []
        self.lines = 0

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> tuple[bytes | str, int]:
        if self._held:
            return self._held.pop()
        line = next(self._lines)
        self.lines += line != NEXT_FILE
        return line, self.lines

    def again(self, lines: list[tuple[bytes | str, int]]) -> None:
        """Give back lines that were read, in their order."""
        self._held.extend(reversed(lines))


def _depth(line: str) -> int:
    """How many braces and brackets a line of JSON opens more than it closes."""
    bare = _STRING.sub("", line)
    return bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
