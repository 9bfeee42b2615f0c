"""Text to token ids, with the place in the text where each token ends."""

import itertools
import re
import zlib
from dataclasses import dataclass
from typing import Protocol

import tokenizers

from foreword.errors import ModelError, PromptError


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
    """A tokenizer of the ``tokenizers`` library, as ``tokenizer.json`` in a model's directory describes it."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self._tokenizer = tokenizer

    @classmethod
    def from_json(cls, text: str) -> "HubTokenizer":
        """Read the content of ``tokenizer.json``. ModelError when it is none."""
        try:
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"tokenizer.json cannot be read: {error}. Is it the file that the model came with?") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    def encode(self, text: str) -> Encoded:
        """Token ids of a text, with the place where each ends; PromptError for invalid Unicode."""
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            place = next((place for place, sign in enumerate(text) if "\ud800" <= sign <= "\udfff"), 0)
            raise PromptError(f"The prompt is not valid Unicode: half a surrogate pair at character {place}.") from None
        return Encoded(encoding.ids, [end for _, end in encoding.offsets])


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
