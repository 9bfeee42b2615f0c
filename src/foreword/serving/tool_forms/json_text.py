"""JSON as models write it, told as JSON as it is defined, piece by piece.

What is JSON stays what it is. Beyond that are taken: raw line breaks and other control characters in strings, escapes that
JSON does not know, quotes within strings that nobody escaped (a string ends where its quote is followed by what can follow
a string), single quotes, names without quotes, trailing and missing commas, brackets that do not match, Python's literals.
What JSON has no word for, or what others cannot read, is told in its place: half a surrogate pair is U+FFFD, a number that
is not finite is null, and what lies deeper than MOST_DEPTH is its text.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from foreword.serving.tool_forms.source import NoCall, Reading, Source, Tell, marks

MOST_DEPTH = 100
"""Nesting of what is told; some readers of JSON take no more than 128."""
MOST_NAME = 4096
"""Characters of a key."""
TRIPLE = '"' * 3
"""Python's quotes for texts of several lines; no JSON begins so."""
MOST_WORD = 2000
"""Characters of a number or a word without quotes."""

_PLAIN = {quote: re.compile(f"[^\\\\{quote}]+") for quote in "\"'"}
_SURROGATES = re.compile("[\ud800-\udfff]")
_KEY = re.compile(r"[^\s:=,{}\[\]()\"'`<]+")
_WORD = re.compile(r"[^,\]}\[{\"'\n<)(;]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LOOSE_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?")
_LITERALS = {
    **dict.fromkeys(("true", "True"), "true"),
    **dict.fromkeys(("false", "False"), "false"),
    **dict.fromkeys(("null", "None", "undefined", "NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"), "null"),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True)
class Syntax:
    """How a form's values differ from JSON.

    raw_quotes
        Texts between which a string stands as it is, with the text that ends each.
    colons
        What may stand between a key and its value.
    tuples
        Whether round brackets make lists.
    ends
        Texts that may follow a value at its end.
    """

    raw_quotes: Mapping[str, str] = field(default_factory=dict)
    colons: str = ":"
    tuples: bool = False
    ends: tuple[str, ...] = ()


JSON = Syntax(ends=("</tool_call>", "```"))


def quoted(text: str) -> str:
    """A text as what stands between the quotes of a JSON string."""
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
    return json.dumps(text, ensure_ascii=False)[1:-1]


class _Level:
    """An object or a list that is open."""

    __slots__ = ("closer", "count", "is_object", "names", "outside")

    def __init__(self, is_object: bool, closer: str, names: tuple[str, ...] = (), outside: Tell | None = None):
        self.is_object, self.closer, self.count = is_object, closer, 0
        self.names = list(reversed(names))  # of values that come without one
        self.outside = outside  # where what comes behind is told, if this is told as text


_KEY_NEXT, _VALUE_NEXT, _COMMA_NEXT = "key", "value", "comma"


class JsonReader:
    """Reads one value and tells it as JSON, as it comes. Whatever is read, what is told is one JSON value at the end."""

    def __init__(self, source: Source, tell: Tell, syntax: Syntax = JSON):
        self._source = source
        self._tell = tell
        self._syntax = syntax
        self._levels: list[_Level] = []
        self._deep = False

    def value(self) -> Reading[bool]:
        """Read a value; whether it came to its end. What is open otherwise is closed."""
        return (yield from self._read(_VALUE_NEXT))

    def members(self, closer: str, names: tuple[str, ...] = ()) -> Reading[bool]:
        """Read an object of which the opening bracket is taken; ``names``: for values that come without one."""
        self._open(True, closer, names)
        return (yield from self._read(_KEY_NEXT))

    def _read(self, state: str | None) -> Reading[bool]:
        steps = {_KEY_NEXT: self._key, _VALUE_NEXT: self._value}
        while state is not None:
            if state == _COMMA_NEXT and not self._levels:
                return True
            yield from self._source.blanks()
            sign = yield from self._source.sign()
            if not sign:
                self._cut(state)
                break
            state = self._comma(sign) if state == _COMMA_NEXT else (yield from steps[state](sign))
        return self._close_all()

    def _cut(self, state: str) -> None:
        """The answer ends within the value."""
        if state == _VALUE_NEXT and (not self._levels or self._levels[-1].is_object):
            self._tell("null")

    def _close_all(self) -> bool:
        while self._levels:
            self._close()
        return False

    def _open(self, is_object: bool, closer: str, names: tuple[str, ...] = ()) -> None:
        outside: Tell | None = None
        if len(self._levels) >= MOST_DEPTH and not self._deep:
            outside, self._deep = self._tell, True
            outside('"')
            self._tell = lambda text, outside=outside: outside(quoted(text))  # type: ignore[misc]
        self._levels.append(_Level(is_object, closer, names, outside))
        self._tell("{" if is_object else "[")

    def _close(self) -> None:
        level = self._levels.pop()
        self._tell("}" if level.is_object else "]")
        if level.outside is not None:
            self._tell, self._deep = level.outside, False
            self._tell('"')

    def _closed_by(self, sign: str) -> bool:
        """Close what a bracket closes: the innermost that it fits. False where it fits none."""
        if not any(level.closer == sign for level in reversed(self._levels)):
            return False
        while self._levels[-1].closer != sign:
            self._close()
        self._source.take(1)
        self._close()
        return True

    def _key(self, sign: str) -> Reading[str | None]:
        level = self._levels[-1]
        if sign in "}])":
            return _COMMA_NEXT if self._closed_by(sign) else None
        if sign in ",;":
            self._source.take(1)
            return _KEY_NEXT
        if level.names and not (sign.isalpha() or sign == "_"):
            self._member(level, level.names.pop())
            return _VALUE_NEXT
        try:
            key = yield from read_key(self._source, self._syntax)
        except NoCall:
            if self._source.keeps:
                raise
            key = None
        if key is None:
            return None
        self._member(level, key)
        return _VALUE_NEXT

    def _member(self, level: _Level, key: str) -> None:
        self._tell(f'{", " if level.count else ""}"{quoted(key)}": ')
        level.count += 1

    def _value(self, sign: str) -> Reading[str | None]:
        level = self._levels[-1] if self._levels else None
        in_list = level is not None and not level.is_object
        if level is not None and sign in ",;}])":
            if not in_list:
                self._tell("null")
                return _COMMA_NEXT
            if sign in ",;":
                self._source.take(1)
                return _VALUE_NEXT
            return _COMMA_NEXT if self._closed_by(sign) else None
        if in_list and level is not None:
            if level.count:
                self._tell(", ")
            level.count += 1
        return (yield from self._begun_value(sign))

    def _begun_value(self, sign: str) -> Reading[str | None]:
        """Read and tell a value, or the beginning of an object or list."""
        raw = self._syntax.raw_quotes
        mark = (yield from self._source.starts(*raw)) if raw else None
        if mark is not None:
            self._source.take(len(mark))
            return (yield from self._string(read_raw(self._source, raw[mark], self._tell_inside)))
        if sign == '"' and (yield from self._source.starts(TRIPLE)):
            self._source.take(len(TRIPLE))
            return (yield from self._string(read_raw(self._source, TRIPLE, self._tell_inside)))
        if sign in "\"'":
            closers = {level.closer for level in self._levels[-1:]} or {"}", "]"}
            inside = read_string(self._source, self._tell_inside, {*closers, ",", "}", "]"}, self._syntax.ends)
            return (yield from self._string(inside))
        if sign in "{[" or (sign == "(" and self._syntax.tuples):
            self._source.take(1)
            self._open(sign == "{", {"{": "}", "[": "]", "(": ")"}[sign])
            return _KEY_NEXT if sign == "{" else _VALUE_NEXT
        return (yield from self._word())

    def _string(self, inside: Reading[bool]) -> Reading[str | None]:
        self._tell('"')
        whole = yield from inside
        self._tell('"')
        return _COMMA_NEXT if whole else None

    def _tell_inside(self, text: str) -> None:
        self._tell(quoted(text))

    def _word(self) -> Reading[str | None]:
        """Read a number, a literal, or a string that has no quotes."""
        word = yield from read_word(self._source)
        if not word:
            self._tell("null")
            return None
        self._tell(as_value(word))
        return _COMMA_NEXT

    def _comma(self, sign: str) -> str | None:
        """Read what stands behind a value."""
        state = _KEY_NEXT if self._levels[-1].is_object else _VALUE_NEXT
        if sign in ",;":
            self._source.take(1)
            return state
        if sign in "}])":
            return _COMMA_NEXT if self._closed_by(sign) else None
        fits = "\"'" if self._levels[-1].is_object else "\"'{["
        return state if sign in fits else None  # a comma is missing


def as_value(word: str) -> str:
    """A word without quotes as JSON: a literal, a number, or else a string."""
    word = word.strip()
    if word in _LITERALS:
        return _LITERALS[word]
    if _NUMBER.fullmatch(word):
        return word if math.isfinite(float(word)) else "null"
    loose = _LOOSE_NUMBER.fullmatch(word)
    if loose and not re.match(r"[+-]?0[0-9]", word) and math.isfinite(value := float(word)):
        return json.dumps(value if "." in word or "e" in word.lower() else int(word))
    return f'"{quoted(word)}"'


def read_word(source: Source) -> Reading[str]:
    """Read what has no quotes, up to what cannot be a part of it; at most MOST_WORD characters."""
    word = ""
    while (yield from source.more()) and (run := source.run(_WORD)):
        word += run
        if len(word) > MOST_WORD:
            break
    return word.strip()


def read_key(source: Source, syntax: Syntax = JSON) -> Reading[str | None]:
    """Read a key and the colon behind it; None where there is no such thing."""
    raw = syntax.raw_quotes
    mark = (yield from source.starts(*raw)) if raw else None
    pieces: list[str] = []
    if mark is not None:
        source.take(len(mark))
        whole = yield from read_raw(source, raw[mark], pieces.append)
    elif (yield from source.sign()) in ("'", '"'):
        whole = yield from read_string(source, _at_most(pieces, MOST_NAME), set(syntax.colons), ())
    else:
        add = _at_most(pieces, MOST_NAME)
        while (yield from source.more()) and (run := source.run(_KEY)):
            add(run)
        whole = bool(pieces)
    if not whole:
        return None
    yield from source.blanks()
    if (yield from source.sign()) not in tuple(syntax.colons):
        return None
    source.take(1)
    return "".join(pieces)


def read_raw(source: Source, end: str, told: Tell) -> Reading[bool]:
    """Tell a string that is as it is, up to the text that ends it; whether that came."""
    return (yield from source.to_mark(marks(end), told)) is not None


def read_string(source: Source, told: Tell, followers: set[str], ends: tuple[str, ...]) -> Reading[bool]:
    """Tell what a string holds; whether it ended. Its quote, the next character, ends it before a follower."""
    quote = source.take(1)
    plain = _PLAIN[quote]
    while (yield from source.more()):
        run = source.run(plain)
        if run:
            told(run)
        elif (yield from source.sign()) == "\\":
            yield from _escape(source, told)
        else:
            source.take(1)
            if (yield from _ends_here(source, followers, ends)):
                return True
            told(quote)
    return False


def _ends_here(source: Source, followers: set[str], ends: tuple[str, ...]) -> Reading[bool]:
    blanks, sign = yield from source.ahead()
    if not sign or sign in followers:
        return True
    if sign in "\"'" and "\n" in blanks:  # the next line goes on with a key: a comma is missing
        return True
    return bool(ends) and (yield from source.starts(*ends, behind=len(blanks))) is not None


def _escape(source: Source, told: Tell) -> Reading[None]:
    """Tell what an escape stands for; one that JSON does not know, as it is written."""
    source.take(1)
    if not (yield from source.more()):
        return
    sign = source.take(1)
    if sign != "u":
        told(_ESCAPES.get(sign, "\\" + sign))
        return
    code = yield from _hexadecimal(source)
    if not isinstance(code, int):
        told("\\u" + code)
        return
    while 0xD800 <= code < 0xDC00 and (yield from source.starts("\\u")):
        source.take(2)
        low = yield from _hexadecimal(source)
        if not isinstance(low, int):
            told("\ufffd\\u" + low)
            return
        if 0xDC00 <= low < 0xE000:
            told(chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)))
            return
        told("\ufffd")
        code = low
    told(chr(code))


def _hexadecimal(source: Source) -> Reading[int | str]:
    """The number of an escape; where it has fewer than four digits, these."""
    digits = ""
    while len(digits) < 4 and (yield from source.sign()) in tuple("0123456789abcdefABCDEF"):
        digits += source.take(1)
    return int(digits, 16) if len(digits) == 4 else digits


def _at_most(pieces: list[str], most: int) -> Tell:
    """Add to pieces; NoCall where they become too long."""

    size = 0

    def add(piece: str) -> None:
        nonlocal size
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise NoCall

    return add
