"""Word wrap for text that arrives in pieces: no word is broken at the terminal's edge."""

from collections.abc import Callable


class WordWrap:
    """A writer that starts a new line before a word that would cross the edge.

    A word is held until what ends it has come; one longer than a line is broken. ``width`` is in characters.
    """

    def __init__(self, write: Callable[[str], object], width: int):
        self._write = write
        self._width = width
        self._column = 0
        self._gap = ""
        self._word = ""

    def write(self, text: str) -> None:
        """Take the next piece."""
        for character in text:
            if character.isspace():
                self._end_word()
                if character == "\n":
                    self._write("\n")
                    self._column, self._gap = 0, ""
                else:
                    self._gap += character
            else:
                self._word += character
                if len(self._word) >= self._width:
                    self._end_word()

    def flush(self) -> None:
        """Write what is held; the text has ended."""
        self._end_word()
        self._gap = ""

    def _end_word(self) -> None:
        if not self._word:
            return
        if self._column and self._column + len(self._gap) + len(self._word) > self._width:
            self._write("\n")
            self._column, self._gap = 0, ""
        self._write(self._gap + self._word)
        self._column += len(self._gap) + len(self._word)
        self._gap, self._word = "", ""
