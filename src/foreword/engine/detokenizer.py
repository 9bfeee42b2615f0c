"""Tokens back to text, as they come, and the texts at which a generation stops. Linear in the length of the answer."""

from collections.abc import Callable, Sequence
from typing import Protocol


class TokenText(Protocol):
    """What the engine needs of a tokenizer: token ids as text."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        ...

    def decoder(self, skip_special_tokens: bool) -> Callable[[int], str | None]:
        """A function of the tokens of one text, in order: what each adds; None while a character is not whole."""
        ...


class TextStream:
    """The text of one continuation. Bytes that are not yet a whole character are held back.

    A text that may be the beginning of a stop text is not shown before that is settled. ``pieces`` is what may be shown, and
    only ever grows at its end: a reader that has seen some pieces goes on behind them.
    """

    def __init__(self, tokenizer: TokenText, skip_special_tokens: bool, stop: Sequence[str], keep_stop: bool):
        self.pieces: list[str] = []
        self._decode = tokenizer.decoder(skip_special_tokens)
        self._stop = tuple(stop)
        self._keep_stop = keep_stop
        self._hold = max((len(text) for text in self._stop), default=1) - 1
        self._held = ""  # the last characters: together with what comes, they may be a stop text

    @property
    def text(self) -> str:
        """What may be shown, whole."""
        return "".join(self.pieces)

    def add(self, token: int, may_stop: bool) -> str | None:
        """Append a token; returns the stop text that it completed, if any."""
        piece = self._decode(token)
        if not piece:
            return None
        before = len(self._held)
        self._held += piece
        found = self._find_stop(before) if may_stop and self._stop else None
        if found is None and len(self._held) > self._hold:
            settled = len(self._held) - self._hold
            self.pieces.append(self._held[:settled])
            self._held = self._held[settled:]
        return found

    def finish(self) -> None:
        """No more tokens: show everything."""
        if self._held:
            self.pieces.append(self._held)
            self._held = ""

    def _find_stop(self, before: int) -> str | None:
        """The first stop text that ends behind the first ``before`` characters held; what is held then ends with it."""
        found = [
            (place, stop) for stop in self._stop if (place := self._held.find(stop, max(0, before - len(stop) + 1))) >= 0
        ]
        if not found:
            return None
        place, stop = min(found)
        self._held = self._held[: place + len(stop) if self._keep_stop else place]
        return stop
