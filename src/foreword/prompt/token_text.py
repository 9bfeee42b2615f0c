"""Token ids to text: what each token stands for by itself, and the text of tokens as they come."""

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tokenizers

UNKNOWN = "\ufffd"
"""Stands for bytes that are no text."""
WINDOW = 4
"""Tokens before a token that a decoder may look at: they say whether it stands at the beginning of the text."""
LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8 at most; so many tokens are held back at most."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenTexts:
    """A vocabulary, read: the bytes or the text that each token stands for.

    Tokens are bytes by themselves where the decoder says so: all of a byte-level one, ``<0x0A>`` with byte fallback. What
    others add to a text the library's decoder is asked. A token id that is not in the vocabulary stands for nothing.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self._tokenizer = tokenizer
        kinds = set(_decoder_kinds(tokenizer.decoder))
        self._all_bytes = "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse", "Sequence"}
        self._falls_back = "ByteFallback" in kinds
        self._special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
        self._known: dict[int, bytes | None] = {}
        self._alone: dict[int, str] = {}

    def is_shown(self, token: int, skip_special_tokens: bool) -> bool:
        """Whether a token is part of a text at all."""
        if skip_special_tokens and token in self._special:
            return False
        return self._tokenizer.id_to_token(token) is not None

    def special(self, texts: Iterable[str]) -> Mapping[str, int]:
        """Those of some texts that are special tokens, and which."""
        found = {text: self._tokenizer.token_to_id(text) for text in texts}
        return {text: token for text, token in found.items() if token in self._special}

    def raw(self, token: int) -> bytes | None:
        """The bytes that a token is by itself; None where only the decoder knows its text."""
        if token not in self._known:
            self._known[token] = self._read(self._tokenizer.id_to_token(token) or "")
        return self._known[token]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids by the library's decoder, special tokens included."""
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def text(self, token: int) -> str:
        """What a token adds to a text that it stands within; U+FFFD for bytes that are no whole character."""
        if token not in self._alone:
            raw = self.raw(token)
            self._alone[token] = self._behind_itself(token) if raw is None else raw.decode("utf-8", "replace")
        return self._alone[token]

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token adds to a text."""
        raw = self.raw(token)
        return self.text(token).encode("utf-8", "replace") if raw is None else raw

    def _behind_itself(self, token: int) -> str:
        once, twice = self.decode([token]), self.decode([token, token])
        return twice[len(once) :] if twice.startswith(once) else once

    def _read(self, name: str) -> bytes | None:
        if self._all_bytes:
            found = [_BYTE_OF.get(sign) for sign in name]
            return name.encode("utf-8", "replace") if None in found else bytes(found)  # type: ignore[arg-type]
        byte = _BYTE.fullmatch(name) if self._falls_back else None
        return bytes([int(byte[1], 16)]) if byte else None


class TextDecoder:
    """The text of one sequence of tokens as they come: what each adds, as soon as its last character is whole.

    Bytes that are no text become U+FFFD, one for each ill-formed part, and change nothing around them. At most the beginning
    of one character is held back. Joined, and with ``finish``, the pieces are the text of all tokens at once.

    shown
        Special tokens that are not skipped with the others.
    before
        The tokens that stand before, whose text somebody else has: this one goes on from there.
    """

    def __init__(
        self, texts: TokenTexts, skip_special_tokens: bool, before: Sequence[int] = (), shown: Collection[int] = ()
    ):
        self._texts = texts
        self._always = frozenset(shown)
        self._skip = skip_special_tokens
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[int] = []  # tokens whose text ends within a character
        self._window = self._last_shown(before)
        self._borrowed = self._open_bytes()  # of the text before, until the first bytes of this one

    def add(self, token: int) -> str:
        """What the next token adds; empty while a character is not whole."""
        if not self._is_shown(token):
            return ""
        raw = self._texts.raw(token)
        if raw is not None:
            first = not (self._window or self._pending) and raw.isascii()  # some decoders leave a blank out there
            text = self._texts.decode([token]) if first else self._settle() + self._characters(raw)
            self._window = [*self._window, token][-WINDOW:]
            return text
        return self._characters(b"", end=True) + self._settle(token)

    def finish(self) -> str:
        """No more tokens: what was held back."""
        return self._characters(b"", end=True) + self._settle()

    def _characters(self, raw: bytes, end: bool = False) -> str:
        """The whole characters that some more bytes make; ``end``: what is begun comes to nothing."""
        borrowed, self._borrowed = self._borrowed, b""
        if borrowed and end:
            return ""
        text = self._utf8.decode(borrowed + raw, end)
        if borrowed and text.startswith(UNKNOWN) and not (borrowed + raw).startswith(UNKNOWN.encode()):
            return text[1:]  # what the text before began comes to nothing, and was told there
        return text

    def _settle(self, token: int | None = None) -> str:
        """What a token adds by the library's decoder, and what was held back before it; without one, all that is held back.

        Where the text ends with U+FFFD, more bytes may come: as many tokens as may make a character are held back.
        """
        if token is not None:
            self._pending.append(token)
        text = self._behind(self._pending)
        if token is None or not text.endswith(UNKNOWN):
            return self._take(len(self._pending), text)
        if len(self._pending) < LONGEST_CHARACTER:
            return ""
        return self._take(1, self._behind(self._pending[:1]))

    def _behind(self, tokens: list[int]) -> str:
        """The text of tokens behind those of the window."""
        if not tokens:
            return ""
        before, whole = self._texts.decode(self._window), self._texts.decode([*self._window, *tokens])
        return whole[len(before) :] if whole.startswith(before) else self._texts.decode(tokens)

    def _take(self, count: int, text: str) -> str:
        """Pending tokens have been told with this text."""
        self._window = [*self._window, *self._pending[:count]][-WINDOW:]
        del self._pending[:count]
        return text

    def _last_shown(self, before: Sequence[int]) -> list[int]:
        shown: list[int] = []
        for at in range(len(before) - 1, -1, -1):
            if self._is_shown(int(before[at])):
                shown.append(int(before[at]))
                if len(shown) == WINDOW:
                    break
        return shown[::-1]

    def _is_shown(self, token: int) -> bool:
        return self._texts.is_shown(token, self._skip and token not in self._always)

    def _open_bytes(self) -> bytes:
        """The beginning of a character with which the tokens before end."""
        raw = b""
        for token in reversed(self._window):
            found = self._texts.raw(token)
            if found is None:
                break
            raw = found + raw
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(raw)
        pending: bytes = decoder.getstate()[0]
        return pending


def _byte_alphabet() -> dict[str, int]:
    """The signs by which byte-level vocabularies write bytes: the visible ones of Latin-1, and from U+0100 on the others."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()


def _decoder_kinds(decoder: Any) -> Iterator[str]:
    """The kinds of a decoder's parts, as tokenizer.json names them."""
    if decoder is None:
        return
    described = [json.loads(decoder.__getstate__())]
    while described:
        part = described.pop()
        described += part.get("decoders", ())
        yield part["type"]
