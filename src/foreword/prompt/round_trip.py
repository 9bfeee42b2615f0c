"""Whether a tokenizer gives text back as it was: a prompt that says something else than what was sent misleads."""

from collections.abc import Sequence
from typing import Protocol

from foreword.tokens import unpack_tokens


class RoundTrip(Protocol):
    """A tokenizer both ways."""

    def tokens(self, text: str, add_special_tokens: bool) -> bytes:
        """The packed tokens of a text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


SAMPLES = (
    "The quick brown fox.",
    "  two blanks, and a line\n\tof tabs\r\n\n",
    "Größe, naïve, 你好, Привет, 🙂",
    'def f(x): return {"k": [1.5, "\\n"]}  # ~!@%^&*',
    "don't , say ' so ' .",
)
"""What prompts are made of: words, white space, signs of other scripts, code, punctuation with blanks around it."""


def changed_samples(tokenizer: RoundTrip) -> list[tuple[str, str]]:
    """Of the samples those that do not come back from their tokens as they were, with what comes back."""
    back = [(text, tokenizer.decode(unpack_tokens(tokenizer.tokens(text, add_special_tokens=False)))) for text in SAMPLES]
    return [(text, again) for text, again in back if again != text]
