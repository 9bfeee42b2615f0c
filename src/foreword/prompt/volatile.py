"""Values that change from request to request: dates, times, random ids, counters. One of them early in a prompt, and
nothing behind it is ever found in a cache.

``find_volatile`` judges one text by itself and is careful: a plain year, a price, a version, a date of birth, or a column
of dates is not volatile. ``find_shapes`` gives all that has the shape of such a value; use it where two texts are at hand,
and ``differing_value`` for the value in which they part.
"""

import bisect
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from foreword.prompt import dates_in_words as words

VolatileKind = Literal["datetime", "date", "time", "epoch", "uuid", "hex", "base64", "request_id", "counter", "port"]
"""``hex`` and ``base64``: random strings; ``request_id``: an id of a request, session, call; ``port``: an ephemeral one."""

SERIES = 3
"""More values of one kind than this, without a word that makes them volatile, are taken for data."""


@dataclass(frozen=True, slots=True)
class Volatile:
    """A value at characters ``start`` to ``end`` of a text (the end not included)."""

    kind: VolatileKind
    start: int
    end: int


def find_volatile(text: str) -> list[Volatile]:
    """Values that will not be the same in the next request, in order; few false alarms.

    Dates and times count when the line says so (today, now, current, as of) or holds nothing else. Words such as born,
    since, version, cutoff before a value speak against it; so do more than SERIES values of its kind: that is data.
    """
    certain, likely = [], []
    for value in find_shapes(text):
        before = text[max(0, value.start - _CUE_REACH, text.rfind("\n", 0, value.start) + 1) : value.start]
        if _STATIC_CUE.search(before):
            continue
        if value.kind in _TOLD_BY_NAME or _VOLATILE_CUE.search(before) or _WEEKDAY.match(text, value.start):
            certain.append(value)
        elif value.kind not in ("date", "time") or _alone(text, value):
            likely.append(value)
    counts = Counter(value.kind for value in likely)
    certain += [value for value in likely if counts[value.kind] <= SERIES]
    return sorted(certain, key=lambda value: value.start)


def find_shapes(text: str) -> list[Volatile]:
    """All that has the shape of a date, a time, an id and so on, in order and without overlap."""
    found = [
        value
        for candidate, look in _SCANS
        for match in candidate.finditer(text)
        if (value := look(text, match.start())) is not None
    ]
    found.sort(key=lambda value: (value.start, -value.end))
    apart: list[Volatile] = []
    for value in found:
        if not apart or value.start >= apart[-1].end:
            apart.append(value)
    return apart


def mask(text: str, values: Iterable[Volatile]) -> str:
    """The text with each of the values (in order) replaced by its kind: ``Today is <date>``."""
    parts, at = [], 0
    for value in values:
        parts += [text[at : value.start], f"<{value.kind}>"]
        at = value.end
    return "".join([*parts, text[at:]])


def differing_value(old: str, new: str) -> tuple[Volatile, Volatile] | None:
    """The value, in the old text and in the new, in which two texts first part; None if they part in no such value.

    Both begin at the same place and are of the same kind. Give the texts from the last few words before they part.
    """
    at = next((place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return None
    first, second = (_value_at(find_shapes(text), at) for text in (old, new))
    if first is None or second is None or (first.kind, first.start) != (second.kind, second.start):
        return None
    return first, second


_CUE_REACH = 60
_TOLD_BY_NAME = ("request_id", "counter", "port")
_VOLATILE_CUE = re.compile(
    r"(?i)\b(?:today|tonight|now|current(?:ly)?|(?:local|system|server)? ?time|date|as of|timestamp|it is|it's|started|"
    r"received|sent|asked|logged in|this (?:morning|week|month)"
    rf"|{words.NOW_WORDS})(?!\w)|{words.CJK_NOW_WORDS}"
)
_STATIC_CUE = re.compile(
    r"(?i)\b(?:cut-?off|versions?|api|born|birth|founded|since|until|before|after|releas\w+|copyright|publish\w+|effective|"
    r"licen[cs]e|revision|hired|joined|last updated|examples?|such as|like|format|due|deadline|signed|commit|sha\d*|"
    r"digest|checksum|md5|model|max(?:imum)?|min(?:imum)?|limit|phone|tel"
    rf"|{words.THEN_WORDS})\b[^.;\n]*$|\be\.\s?g\.?[^.;\n]*$|©|(?:{words.CJK_THEN_WORDS})[^。；\n]*$"
)
_WEEKDAY = re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)|(?i:{words.WEEKDAYS})")

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[A-Z]{3,4}T|[+-]\d{2}:?\d{2})\b)"
_CLOCK = rf"\d{{1,2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d+)?)?(?:\s?(?:[AaPp][Mm]\b|[ap]\.m\.))?{_ZONE}?"
_AT_CLOCK = rf"(?P<datetime>(?:[T_ :]|,? (?:at )?){_CLOCK}(?!\w))"
_NUMERIC_DATE = r"(?:\d{4}-\d{2}-\d{2}|\d{4}/\d{2}/\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4})"
_DAY_NUMBER = r"\d{1,2}(?:st|nd|rd|th)?,?"
_DAY_MONTH_YEAR = rf"{_DAY_NUMBER}(?: of)?[ /-]{_MONTH},?[ /-]\d{{4}}"
_NUMERIC = re.compile(
    rf"(?P<date>{_NUMERIC_DATE}|{_DAY_MONTH_YEAR})(?:{_AT_CLOCK}|(?![\w/-]|\.\d))"
    rf"|(?<!:)(?P<time>{_CLOCK})(?![\w:])"
    r"|(?<![,$€£+])(?P<epoch>(?:1[5-9]|20|21)\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?)(?![\w-]|\.\d)"
)
_COMPACT = re.compile(
    r"20\d\d(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T_-](?=\d)|(?=\d{6}(?!\d)))(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d(?:\.\d+)?)?"
    r"|-\d\d-\d\d[T_](?:[01]\d|2[0-3])-[0-5]\d(?:-[0-5]\d)?)Z?(?![\w-])"
)
"""``20260101T094103Z``, as in the names of files too: ``2026-01-01_09-41-03``."""
_NAMED = re.compile(
    rf"(?P<date>(?:{_DAY} )?(?:{_DAY_MONTH_YEAR}|{_MONTH} {_DAY_NUMBER} \d{{4}})"
    rf"|{_DAY} (?:{_NUMERIC_DATE}|{_MONTH} {_DAY_NUMBER}))(?:{_AT_CLOCK}|(?!\w))"
)
_ORDINAL = (
    r"(?:(?:twenty|thirty)-(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|first|second|third|fourth|fifth|"
    r"sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth)"
)
_YEAR = r"(?:,? \d{4})?(?!\w)"
_NOW = re.compile(
    r"(?:[Tt]oday(?:'s (?:date|day))?|[Nn]ow|[Cc]urrent(?:ly)?(?: (?:date|day|month|time))?|[Dd]ate|[Ii]t(?: is|'s))\b"
    r"[ \t:=,(*-]{1,4}(?:(?:is|the|on|in|now)\b[ \t:=,]{1,3}){0,3}"
    rf"(?:(?P<date>(?:{_DAY} )?(?:the )?(?:{_DAY_NUMBER}|{_ORDINAL}) (?:of )?{_MONTH}{_YEAR}"
    rf"|(?:{_DAY} )?{_MONTH} (?:the )?(?:\d{{1,2}}(?:st|nd|rd|th)?|{_ORDINAL}){_YEAR}"
    rf"|{_DAY.removesuffix(',?')}(?!\w)|{_MONTH} \d{{4}}(?!\w))"
    r"|(?P<time>\d{1,2} ?(?:[AaPp][Mm]\b|o'clock)|(?:half past|quarter (?:past|to)) \w+))"
)
"""A date or a time in words, right behind a word that makes it one of this moment."""
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![\w-])")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-f]{12,}|[0-9A-F]{12,})(?![\w/+-])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}(?![\w.])")
_ID_WORD = (
    r"(?:req(?:uest)?|resp(?:onse)?|msg|message|sess(?:ion)?|trace|span|corr(?:elation)?|conv(?:ersation)?|call|toolu|"
    r"chatcmpl|run|thread|job|txn|transaction|task|ticket)"
)
_ID_BEFORE = re.compile(rf"(?<![A-Za-z0-9]){_ID_WORD}\Z")
_ID_TAIL = re.compile(r"[_-][A-Za-z0-9_-]{6,}(?![\w-])")
_COUNTED = r"(?:requests?|turns?|attempts?|iterations?|visits?|messages?|calls?|tokens?)"
_NAME = re.compile(
    rf"(?i)(?P<request_id>\b{_ID_WORD}(?:[ _-]?(?:id|number|no\.?)\b[\"']?\s?[:=\#]?|\s?\#)\s?[\"']?"
    r"|\b(?:nonce|cch)[\"']?\s?[:=]?\s?[\"']?)\Z"
    rf"|(?P<counter>\b{_COUNTED}(?: (?:count|counter|so far|left|remaining|used))?[\"']?\s?[:=\#]\s?)\Z"
    r"|(?P<port>\bport[ :=]|[\w\]]:)\Z"
)
_NAME_ENDS = (
    *("id", "number", "no", "no.", "nonce", "cch", "count", "counter", "so far", "left", "remaining", "used", "port"),
    *("request", "turn", "attempt", "iteration", "visit", "message", "call", "token", "session", "ticket", "job", "run"),
    *("requests", "turns", "attempts", "iterations", "visits", "messages", "calls", "tokens", "task", "trace", "thread"),
)
_WORD = re.compile(r"[A-Za-z0-9_-]+(?![\w-])")
_EPHEMERAL = re.compile(r"(?:3[3-9]|[45]\d|6[0-5])\d{3}(?![\w.,:])")


def _numeric(text: str, at: int) -> Volatile | None:
    return _dated(_NUMERIC.match(text, at))


def _compact(text: str, at: int) -> Volatile | None:
    match = _COMPACT.match(text, at)
    return Volatile("datetime", at, match.end()) if match else None


def _named(text: str, at: int) -> Volatile | None:
    return None if at and text[at - 1].isalnum() else _dated(_NAMED.match(text, at))


def _of_now(text: str, at: int) -> Volatile | None:
    """``Today is Tuesday, the third of March``; ``at`` is the place of the word before it."""
    match = None if at and text[at - 1].isalnum() else _NOW.match(text, at)
    if match is None:
        return None
    kind: VolatileKind = match.lastgroup  # type: ignore[assignment]
    return Volatile(kind, *match.span(kind))


def _in_words(look: Callable[[str, int], words.Found | None]) -> Callable[[str, int], Volatile | None]:
    def found(text: str, at: int) -> Volatile | None:
        span = look(text, at)
        return None if span is None else Volatile(*span)

    return found


def _dated(match: re.Match[str] | None) -> Volatile | None:
    if match is None:
        return None
    kind: VolatileKind = match.lastgroup  # type: ignore[assignment]
    return Volatile(kind, match.start(), match.end())


def _hexadecimal(text: str, at: int) -> Volatile | None:
    if match := _UUID.match(text, at):
        return Volatile("uuid", at, match.end())
    match = _HEX.match(text, at)
    return Volatile("hex", at, match.end()) if match and not match[0].isdigit() and not match[0].isalpha() else None


def _base64(text: str, at: int) -> Volatile | None:
    match = _BASE64.match(text, at)
    return Volatile("base64", at, match.end()) if match and _looks_random(match[0]) else None


def _prefixed_id(text: str, at: int) -> Volatile | None:
    """``req_011CS``; ``at`` is the place of the sign behind the word."""
    word, tail = _ID_BEFORE.search(text, max(0, at - 13), at), _ID_TAIL.match(text, at)
    return Volatile("request_id", word.start(), tail.end()) if word and tail else None


def _told_by_name(text: str, at: int) -> Volatile | None:
    """``Session ID: 83921``, ``turns so far: 7``, ``localhost:53211``; ``at`` is the place of the sign before the value."""
    start = at + 1
    before = text[max(0, at - 12) : start].rstrip(" :=#\"'").lower()
    if not before.endswith(_NAME_ENDS) and not (text[at] == ":" and _EPHEMERAL.match(text, start)):
        return None  # the quick way out
    name = _NAME.search(text, max(0, start - 40), start)
    word = _WORD.match(text, start) if name else None
    if name is None or word is None:
        return None
    kind: VolatileKind = name.lastgroup  # type: ignore[assignment]
    fits = {"port": _EPHEMERAL.match(text, start), "counter": word[0].isdigit()}
    if not fits.get(kind, True):
        return None
    return Volatile(kind, start, word.end())


_SCANS = (
    (re.compile(r"[_-](?=[A-Za-z_-]{0,24}\d)"), _prefixed_id),
    (re.compile(r"[0-9](?<![\w./-][0-9])(?=\d?(?:[:./-]\d|(?:st|nd|rd|th)?,?[ /-][A-Z])|\d{3}[/-]\d|\d{9})"), _numeric),
    (re.compile(r"2(?<![\w./-]2)(?=0\d\d(?:\d{4}[T_-]?|-\d\d-\d\d[T_])\d\d-?\d\d)"), _compact),
    (re.compile(r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun)"), _named),
    (re.compile(r"[TtNnCcDdIi](?:oday|ow|urrent(?:ly)?|ate|t is|t's)\b"), _of_now),
    (words.FIRST_DIGIT, _in_words(words.date_at)),
    (words.CJK_FIRST_DIGIT, _in_words(words.cjk_date_at)),
    (words.TODAY, _in_words(words.weekday_of_today)),
    (re.compile(r"[0-9a-fA-F](?<![\w/+=-][0-9a-fA-F])(?=x?[0-9a-fA-F]{7})"), _hexadecimal),
    (re.compile(r"[A-Za-z0-9+/](?<![\w/+=.-][A-Za-z0-9+/])(?=[A-Za-z0-9+/_-]{19})"), _base64),
    (re.compile(r"[ :=#\"'](?=[A-Za-z_-]{0,24}\d)"), _told_by_name),
)
"""Where a value might be (patterns that begin with a set of signs are fast), and a closer look at it."""


def _alone(text: str, value: Volatile) -> bool:
    """Whether the line holds nothing but the value, in brackets perhaps."""
    start = text.rfind("\n", 0, value.start) + 1
    end = text.find("\n", value.end)
    around = text[start : value.start] + text[value.end : end if end >= 0 else len(text)]
    return not around.strip(" \t\r()[]<>*#-_.:")


def _looks_random(text: str) -> bool:
    """Digits and letters well mixed, unlike identifiers and paths."""
    digits = sum(character.isdigit() for character in text)
    longest = max((len(word) for word in re.findall("[a-z]+|[A-Z]+", text)), default=0)
    return 2 <= digits < len(text) and longest <= 6 and len(set(text)) >= 10 and sum(map(text.count, "/-_")) <= 3


def _value_at(values: list[Volatile], at: int) -> Volatile | None:
    place = bisect.bisect_right([value.start for value in values], at) - 1
    return values[place] if place >= 0 and at <= values[place].end else None
