"""Text to token ids, with the place in the text where each token ends; and token ids to text."""

import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import tokenizers
from tokenizers.decoders import DecodeStream

from foreword.errors import ModelError, PromptError
from foreword.tokens import pack_tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each the number of characters of the text up to its end (never falling)."""

    ids: list[int]
    ends: list[int]


class Tokenizer(Protocol):
    """What prompts need of a tokenizer. No special tokens are added to the text; those in the text are recognised.

    PromptError for a text that is not valid Unicode.
    """

    def encode(self, text: str) -> Encoded:
        """Token ids of a text, with the place where each ends."""
        ...


class HubTokenizer:
    """A tokenizer of the ``tokenizers`` library, as ``tokenizer.json`` in a model's directory describes it.

    Text is never cut and never padded, whatever the file or another user of the library's object says.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self._tokenizer = tokenizer

    @classmethod
    def from_json(cls, text: str) -> "HubTokenizer":
        """Read the content of ``tokenizer.json``. ModelError when it is none."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"tokenizer.json cannot be read: {error}. Is it the file that the model came with?") from error

    def encode(self, text: str) -> Encoded:
        """Token ids and where they end, without special tokens but those in the text."""
        encoding = self._encode(text, add_special_tokens=False)
        return Encoded(encoding.ids, [end for _, end in encoding.offsets])

    def tokens(self, text: str, add_special_tokens: bool) -> bytes:
        """The packed tokens of a text. With ``add_special_tokens`` those that the model puts around a text are added.

        They are for prompts that are written out; a chat template writes its own. PromptError for invalid Unicode.
        """
        return pack_tokens(self._encode(text, add_special_tokens).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def decoder(self, skip_special_tokens: bool) -> Callable[[int], str | None]:
        """A function of the tokens of one text, in order: what each adds; None while a character is not whole."""
        return partial(DecodeStream(skip_special_tokens=skip_special_tokens).step, self._tokenizer)

    def _encode(self, text: str, add_special_tokens: bool) -> tokenizers.Encoding:
        if self._tokenizer.truncation is not None:
            self._tokenizer.no_truncation()
        if self._tokenizer.padding is not None:
            self._tokenizer.no_padding()
        try:
            return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError):
            place = next((place for place, sign in enumerate(text) if "\ud800" <= sign <= "\udfff"), 0)
            raise PromptError(f"The prompt is not valid Unicode: half a surrogate pair at character {place}.") from None


class ApproximateTokenizer:
    """Stands in where a model's tokenizer is not to be had, as with hosted models.

    Words in pieces of at most eight letters, numbers in threes, other signs up to three: about four characters a token in
    English text, as with vocabularies of 100,000 and more. Counts are an estimate. Equal text gives equal tokens and
    different text different ones (up to a 31-bit hash), so that shared prefixes are still found, to within a few tokens.
    """

    _PIECE = re.compile(r" ?[^\W\d_]{1,8}| ?\d{1,3}|\n+|\s+(?=\s)| ?[^\w\s]{1,3}|_+|\s")

    def encode(self, text: str) -> Encoded:
        """Estimated tokens of a text, with the place where each ends."""
        pieces = self._PIECE.findall(text)
        ids = {piece: zlib.crc32(piece.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF for piece in set(pieces)}
        return Encoded([ids[piece] for piece in pieces], list(itertools.accumulate(map(len, pieces))))
