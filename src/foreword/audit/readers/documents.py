"""From the lines of a log to its records: an object a line, objects of several lines, lists, YAML cassettes, aider's text.

Nothing but the record at hand is held, so a list of any length is read object by object; one that is longer than the longest
line is refused.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from foreword.audit.readers.base import LogLineError, Record

NEXT_FILE = "\x1e"
"""A line that parts two files of one log (in JSON text sequences, two records)."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_OPEN_ENDED = re.compile(r"(?:[\[{,:]|\[\s*\{)\s*$")
_YAML = re.compile(r"^(?:interactions:\s*$|version: \d+\s*$|- request:\s*$)")


@dataclass(frozen=True, slots=True)
class Located:
    """A record, or why there is none, with the line at which it begins (``lines``: how many it takes).

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


class Documents:
    """Reads the lines of one pass; ``lines`` is how many there were."""

    def __init__(self, longest: int):
        self.longest = longest
        self.lines = 0
        self._begins = True

    def read(self, lines: Iterable[bytes | str]) -> Iterator[Located]:
        """The records of a log in their order."""
        source = iter(lines)
        held: list[tuple[bytes | str, int]] = []  # lines to be read again, after a document that was none
        while True:
            if held:
                line, number = held.pop(0)
            else:
                try:
                    line = next(source)
                except StopIteration:
                    return
                if line == NEXT_FILE:
                    self._begins = True
                    continue
                self.lines += 1
                number = self.lines
            text, foreign = text_of(line)
            stripped = text.strip()
            if not stripped:
                continue
            if stripped[0] == NEXT_FILE:
                self._begins = True
                stripped = stripped[1:].lstrip()
                if not stripped:
                    continue
            if stripped in ("[", "]", "],"):
                self._begins = True
                continue
            if _YAML.match(stripped) and self._begins:
                yield from self._yaml(source, stripped, number)
                continue
            try:
                yield from self._located(parse(stripped), number, foreign)
                continue
            except LogLineError as error:
                broken = error
            if stripped.endswith(","):
                try:
                    yield from self._located(parse(stripped[:-1]), number, foreign)
                    continue
                except LogLineError:
                    pass
            if stripped[0] in "{[" and _OPEN_ENDED.search(stripped):
                found, again = self._document(source, stripped, held)
                if found is not None:
                    yield from self._located(found, number, foreign)
                    continue
                held[:0] = again
            yield self._one(Located(number, None, broken, foreign))

    def _document(
        self, source: Iterator[bytes | str], first: str, held: list[tuple[bytes | str, int]]
    ) -> tuple[Any, list[tuple[bytes | str, int]]]:
        """A JSON value that goes over several lines; without one, the lines that were read in search of its end."""
        text, depth, size = [first], _depth(first), len(first)
        again: list[tuple[bytes | str, int]] = []
        while depth > 0:
            if held:
                line, number = held.pop(0)
            else:
                try:
                    line = next(source)
                except StopIteration:
                    return None, again
                self.lines += line != NEXT_FILE
                number = self.lines
            again.append((line, number))
            piece, _ = text_of(line)
            if piece.startswith(('{"', NEXT_FILE)):  # a record of its own: the one before was cut
                return None, again
            depth += _depth(piece)
            size += len(piece)
            if size > self.longest:
                return None, []
            text.append(piece)
        try:
            return parse("".join(text).rstrip().rstrip(",")), again
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

    def _yaml(self, source: Iterator[bytes | str], first: str, number: int) -> Iterator[Located]:
        """The exchanges of a cassette in YAML, one after another: each begins with ``- request:`` at the left."""
        block, start = ([first + "\n"], number) if first.startswith("-") else ([], number)
        for line in source:
            self.lines += line != NEXT_FILE
            text, _ = text_of(line)
            if text.startswith((NEXT_FILE, "- ", "version:")):
                if block:
                    yield self._one(_exchange(block, start))
                block, start = [], self.lines
                if text.startswith(NEXT_FILE):
                    self._begins = True
                    return
                if text.startswith("version:"):
                    continue
            if block or text.startswith("- "):
                block.append(text)
        if block:
            yield self._one(_exchange(block, start))


def _depth(line: str) -> int:
    """How many braces and brackets a line of JSON opens more than it closes."""
    bare = _STRING.sub("", line)
    return bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")


def _exchange(block: list[str], line: int) -> Located:
    """A block of a cassette as a record."""
    try:
        import yaml
    except ImportError:
        reason = 'a cassette in YAML needs the package pyyaml: pip install "foreword[audit]"'
        return Located(line, None, LogLineError(reason))
    try:
        value = yaml.safe_load("".join(block))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return Located(line, None, LogLineError(f"not YAML: {str(error).splitlines()[0]}"))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return Located(line, value[0])
    return Located(line, None, LogLineError("a block of YAML that is no exchange"))
