"""Text to token ids, with the place in the text where each token ends; and token ids to text."""

import itertools
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import tokenizers

from foreword.errors import ModelError, PromptError, PromptTooLong
from foreword.prompt.text_bound import characters_per_token
from foreword.prompt.token_text import TextDecoder, TokenTexts
from foreword.tokens import pack_tokens

SHORT = 2000
"""Characters that are tokenized within a millisecond or two: not worth another thread."""
COUNTED = 4
"""Times the tokens that are of use: so long a text is still counted, that its owner may learn by how much it is too long."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each the number of characters of the text up to its end (never falling)."""

    ids: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What tokens stand for. ``texts``: by token id, the bytes that it adds to a text; none where it adds nothing or is
    special. ``special``: special tokens by their names."""

    texts: list[bytes]
    special: dict[str, int]


class Tokenizer(Protocol):
    """What prompts need of a tokenizer. No special tokens are added to the text; those in the text are recognised.

    PromptError for a text that is not valid Unicode.
    """

    def encode(self, text: str) -> Encoded:
        """Token ids of a text, with the place where each ends."""
        ...


class HubTokenizer:
    """A tokenizer of the ``tokenizers`` library, as ``tokenizer.json`` in a model's directory describes it.

    Text is never cut and never padded, whatever the file or another user of the library's object says. Long ones are
    tokenized without the interpreter's lock, so that other threads go on.

    most_tokens
        No more than so many are of use: a text whose characters cannot become so few is a PromptError before it is
        tokenized, one of a multiple of them behind it. None: any text.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, most_tokens: int | None = None):
        self._tokenizer = tokenizer
        self._most_tokens = most_tokens

    @classmethod
    def from_json(cls, text: str) -> "HubTokenizer":
        """Read the content of ``tokenizer.json``. ModelError when it is none."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"tokenizer.json cannot be read: {error}. Is it the file that the model came with?") from error

    def to_json(self) -> str:
        """As ``tokenizer.json`` has it; from_json reads it again."""
        return str(self._tokenizer.to_str())

    def bounded(self, most_tokens: int) -> "HubTokenizer":
        """The same tokenizer, for prompts of no more than so many tokens."""
        return HubTokenizer(self._tokenizer, most_tokens)

    def encode(self, text: str) -> Encoded:
        """Token ids and where they end, without special tokens but those in the text."""
        encoding = self._encode(text, add_special_tokens=False)
        return Encoded(encoding.ids, [end for _, end in encoding.offsets])

    def tokens(self, text: str, add_special_tokens: bool) -> bytes:
        """The packed tokens of a text. With ``add_special_tokens`` those that the model puts around a text are added.

        They are for prompts that are written out; a chat template writes its own. PromptError for invalid Unicode.
        """
        return pack_tokens(self._encode(text, add_special_tokens).ids)

    def check_count(self, tokens: int) -> None:
        """PromptError for a prompt of so many tokens, where no more than ``most_tokens`` are of use."""
        if self._most_tokens is not None and tokens > self._most_tokens:
            raise _too_long(f"{tokens} tokens", tokens, self._most_tokens)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._texts.decode(token_ids)

    def token_text(self, token: int) -> str:
        """What a token adds to a text that it stands within; U+FFFD for bytes that are no whole character."""
        return self._texts.text(token)

    def token_bytes(self, token: int) -> bytes:
        """The same in bytes, also those of a token that is a part of a character."""
        return self._texts.bytes_of(token)

    def special_tokens(self, texts: Iterable[str]) -> Mapping[str, int]:
        """Those of some texts that are special tokens, and which."""
        return self._texts.special(texts)

    def decoder(self, skip_special_tokens: bool, before: Sequence[int] = (), shown: Collection[int] = ()) -> TextDecoder:
        """The text of tokens as they come, behind the text of those ``before``; the ``shown`` ones are never skipped."""
        return TextDecoder(self._texts, skip_special_tokens, before, shown)

    def vocabulary(self, size: int) -> Vocabulary:
        """What the first ``size`` token ids stand for. Takes time: each is looked at."""
        added = self._tokenizer.get_added_tokens_decoder().items()
        special = {token.content: token_id for token_id, token in added if token.special and token_id < size}
        hidden = set(special.values())
        return Vocabulary([b"" if token in hidden else self.token_bytes(token) for token in range(size)], special)

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self._tokenizer)

    def _encode(self, text: str, add_special_tokens: bool) -> tokenizers.Encoding:
        if self._tokenizer.truncation is not None:
            self._tokenizer.no_truncation()
        if self._tokenizer.padding is not None:
            self._tokenizer.no_padding()
        self._check_characters(text)
        try:
            if len(text) <= SHORT:
                encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
            else:
                encoding = self._tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)[0]
        except (TypeError, UnicodeEncodeError):
            place = next((place for place, sign in enumerate(text) if "\ud800" <= sign <= "\udfff"), 0)
            raise PromptError(f"The prompt is not valid Unicode: half a surrogate pair at character {place}.") from None
        if self._most_tokens is not None and len(encoding) > COUNTED * self._most_tokens:
            raise _too_long(f"{len(encoding)} tokens", len(encoding), self._most_tokens)
        return encoding

    def _check_characters(self, text: str) -> None:
        """PromptError for a text whose characters cannot become as few tokens as there may be."""
        if self._most_tokens is None or len(text) < self._most_tokens:
            return
        each = self._characters_per_token
        if each is not None and len(text) > self._most_tokens * each:
            tokens = len(text) // each
            raise _too_long(f"{len(text)} characters, at least {tokens} tokens", tokens, self._most_tokens)

    @cached_property
    def _characters_per_token(self) -> int | None:
        return characters_per_token(self._tokenizer)


def _too_long(length: str, tokens: int, most: int) -> PromptTooLong:
    return PromptTooLong(
        f"The prompt has {length}, but prompt and answer together may have {most} tokens. Shorten it, or raise "
        f"max_model_len if the model allows more.",
        tokens,
        most,
    )


class ApproximateTokenizer:
    """Stands in where a model's tokenizer is not to be had, as with hosted models.

    Words in pieces of at most eight letters, numbers in threes, other signs up to three: about four characters a token in
    English text, as with vocabularies of 100,000 and more. What looks like a special token of a chat template (``<|end|>``,
    ``</s>``, ``[INST]``) is one token, whatever stands beside it. Counts are an estimate. Equal text gives equal tokens and
    different text different ones (up to a 31-bit hash), so that shared prefixes are still found, to within a few tokens.
    """

    _SPECIAL = r"<[|｜][^|｜<>\n]{1,64}[|｜]>|</?[A-Za-z][\w.:-]{0,40}>|\[/?[A-Z][A-Z_]{2,30}\]"
    _PIECE = re.compile(rf"{_SPECIAL}| ?[^\W\d_]{{1,8}}| ?\d{{1,3}}|\n+|\s+(?=\s)| ?(?:(?!{_SPECIAL})[^\w\s]){{1,3}}|_+|\s")

    def encode(self, text: str) -> Encoded:
        """Estimated tokens of a text, with the place where each ends."""
        pieces = self._PIECE.findall(text)
        ids = {piece: zlib.crc32(piece.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF for piece in set(pieces)}
        return Encoded([ids[piece] for piece in pieces], list(itertools.accumulate(map(len, pieces))))
