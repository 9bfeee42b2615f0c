"""The text of an answer as it comes, for readers that are written as if all of it were there.

A reader is a generator: where it needs more text it yields, and whoever drives it feeds the source and goes on. Every
character is taken once, so that reading is linear in the answer's length; what is taken while it is kept can be given back.
"""

import re
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""What a reader is: it yields for more text and returns what it found."""
Tell = Callable[[str], None]

MOST_KEPT = 2**18
"""Characters that are held back for what may yet be a call. Beyond that they are text."""
MOST_BLANKS = 1000
"""Blanks that are looked past or held back, for what comes behind them."""
_BLANKS = re.compile(r"\s+")


class NoCall(Exception):
    """What looked like the beginning of a call is none, and what was kept of it is text."""


class Marks:
    """Texts that are looked for at once; of two at one place the longer counts."""

    def __init__(self, texts: tuple[str, ...]):
        self.pattern = re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))
        self._texts = texts
        self._first = frozenset(text[0] for text in texts)
        self._longest = max(map(len, texts))

    def certain(self, text: str, start: int) -> int:
        """The place up to which a text, in which no mark was found, holds not even the beginning of one."""
        for place in range(max(start, len(text) - self._longest + 1), len(text)):
            if text[place] in self._first and any(mark.startswith(text[place:]) for mark in self._texts):
                return place
        return len(text)


@lru_cache(256)
def marks(*texts: str) -> Marks:
    """Marks, made once."""
    return Marks(texts)


class Source:
    """The text that has come and has not been taken; ``position``: characters taken so far."""

    def __init__(self) -> None:
        self.position = 0
        self.ended = False
        self._text = ""
        self._at = 0
        self._kept: list[str] | None = None
        self._kept_size = 0

    def feed(self, text: str) -> None:
        """More text."""
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """No more text will come."""
        self.ended = True

    def keep(self, begun: str = "") -> None:
        """Remember what is taken from now on, and ``begun`` before it; what was remembered is forgotten."""
        self._kept, self._kept_size = [begun] if begun else [], len(begun)

    @property
    def keeps(self) -> bool:
        """Whether what is taken is remembered."""
        return self._kept is not None

    def let_go(self) -> str:
        """Remember no more; what was taken since ``keep``."""
        kept, self._kept = self._kept or (), None
        return "".join(kept)

    def rest(self) -> str:
        """All that has not been told: what is kept, and what has not been taken."""
        return self.let_go() + self.take(len(self._text) - self._at)

    def more(self) -> Reading[bool]:
        """Wait for a character; False at the end of the answer."""
        while self._at == len(self._text):
            if self.ended:
                return False
            yield
        return True

    def sign(self) -> Reading[str]:
        """The next character, not taken; empty at the end."""
        return self._text[self._at] if (yield from self.more()) else ""

    def take(self, count: int) -> str:
        """Take characters that are there. NoCall where too much is kept."""
        taken = self._text[self._at : self._at + count]
        self._at += len(taken)
        self.position += len(taken)
        if self._kept is not None:
            self._kept.append(taken)
            self._kept_size += len(taken)
            if self._kept_size > MOST_KEPT:
                raise NoCall
        return taken

    def run(self, pattern: re.Pattern[str]) -> str:
        """Take what a pattern matches of the text that is there."""
        found = pattern.match(self._text, self._at)
        return self.take(found.end() - self._at) if found else ""

    def blanks(self) -> Reading[None]:
        """Take blanks."""
        while (yield from self.more()) and self.run(_BLANKS):
            pass

    def starts(self, *texts: str, behind: int = 0) -> Reading[str | None]:
        """The longest of some texts that comes next, not taken; ``behind``: not at once, but behind so many characters."""
        while True:
            start = self._at + behind
            fitting = [text for text in texts if self._text.startswith(text, start)]
            longest = max(map(len, texts), default=0)
            ahead = self._text[start : start + longest]
            if self.ended or not any(text.startswith(ahead) and len(text) > len(ahead) for text in texts):
                return max(fitting, key=len, default=None)
            yield

    def last_begun(self, texts: tuple[str, ...], behind: int) -> int:
        """Characters that are left of an answer that has ended, if they begin one of some texts behind so many; else 0."""
        rest = self._text[self._at + behind :]
        cut = self.ended and rest and any(text.startswith(rest) for text in texts)
        return behind + len(rest) if cut else 0

    def ahead(self, behind: int = 0) -> Reading[tuple[str, str]]:
        """The blanks that come next and the character behind them, nothing taken; no character at the end.

        ``behind``: not at once, but behind so many characters.
        """
        size = 0
        while True:
            start = self._at + behind
            while start + size < len(self._text) and size < MOST_BLANKS:
                sign = self._text[start + size]
                if not sign.isspace():
                    return self._text[start : start + size], sign
                size += 1
            if self.ended or size == MOST_BLANKS:
                return self._text[start : start + size], ""
            yield

    def to_mark(self, wanted: Marks, tell: Tell) -> Reading[str | None]:
        """Tell the text up to a mark, as it comes, and take the mark; None at the end of the answer."""
        while True:
            found = wanted.pattern.search(self._text, self._at)
            certain = found.start() if found else wanted.certain(self._text, self._at)
            if not found and self.ended:
                certain = len(self._text)
            if certain > self._at:
                tell(self.take(certain - self._at))
            if found:
                return self.take(found.end() - found.start())
            if self.ended:
                return None
            yield

    def short(self, wanted: Marks, most: int) -> Reading[tuple[str, str]]:
        """A short text and the mark behind it. NoCall where none comes within ``most`` characters."""
        pieces: list[str] = []

        def tell(piece: str) -> None:
            pieces.append(piece)
            if sum(map(len, pieces)) > most:
                raise NoCall

        mark = yield from self.to_mark(wanted, tell)
        if mark is None:
            raise NoCall
        return "".join(pieces), mark
