"""Tokens back to text, as they come, and the texts at which a generation stops. Linear in the length of the answer."""

from array import array
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

UNDECODABLE = "\ufffd"
"""Stands for a token that could not be made text."""


class TokenDecoder(Protocol):
    """The text of one sequence of tokens as they come."""

    def add(self, token: int) -> str:
        """What the next token adds; empty while a character is not whole."""
        ...

    def finish(self) -> str:
        """No more tokens: what was held back."""
        ...


class TokenText(Protocol):
    """What the engine needs of a tokenizer: token ids as text."""

    def token_text(self, token: int) -> str:
        """What a token adds to a text that it stands within."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The same in bytes: also of a token that is a part of a character."""
        ...

    def decoder(self, skip_special_tokens: bool, before: Sequence[int], shown: Collection[int]) -> TokenDecoder:
        """The text of tokens that come behind others, whose text somebody else has; ``shown`` are never skipped."""
        ...


class TextStream:
    """The text of one continuation of the tokens ``before``. Bytes that are not yet a whole character are held back.

    A text that may be the beginning of a stop text is not shown before that is settled. ``pieces`` is what may be shown, and
    only ever grows at its end: a reader that has seen some pieces goes on behind them. ``ends``: of each token, how many
    characters the text has with it. Whatever a decoder raises, be it a
    panic of native code, becomes U+FFFD in place of the token's text, and nothing else.
    """

    def __init__(
        self,
        tokenizer: TokenText,
        skip_special_tokens: bool,
        stop: Sequence[str],
        keep_stop: bool,
        before: Sequence[int] = (),
        shown: Collection[int] = (),
    ):
        self.pieces: list[str] = []
        self.ends = array("q")
        self._size = 0
        self._make_decoder: Callable[[], TokenDecoder] = lambda: tokenizer.decoder(skip_special_tokens, before, shown)
        self._decoder: TokenDecoder | None = None
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
        piece = self._guarded(lambda decoder: decoder.add(token))
        self._size += len(piece)
        self.ends.append(self._size)
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
        """No more tokens: show everything. A character that is only begun is U+FFFD, but not behind a stop text."""
        if self._decoder is not None:
            self._held += self._guarded(lambda decoder: decoder.finish())
        if self._held:
            self.pieces.append(self._held)
        self._held, self._decoder = "", None

    def _guarded(self, ask: Callable[[TokenDecoder], str]) -> str:
        """What the decoder answers; where it raises, U+FFFD, and another one goes on."""
        try:
            if self._decoder is None:
                self._decoder = self._make_decoder()
            return ask(self._decoder)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # native code raises what is no Exception
            self._decoder = None
            return UNDECODABLE

    def _find_stop(self, before: int) -> str | None:
        """The first stop text that ends behind the first ``before`` characters held; what is held then ends with it."""
        found = [
            (place, stop) for stop in self._stop if (place := self._held.find(stop, max(0, before - len(stop) + 1))) >= 0
        ]
        if not found:
            return None
        place, stop = min(found)
        self._decoder = None  # what it holds back stands behind the stop text
        self._held = self._held[: place + len(stop) if self._keep_stop else place]
        return stop
