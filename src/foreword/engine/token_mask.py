"""Which tokens may come next in an answer that has a form: all that the loop and the sampler know of grammars."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

WORD = 32
"""Tokens of one number of a row."""
Row = npt.NDArray[np.int32]
"""A bit for each token of the vocabulary, the lowest first: token 33 is bit 1 of number 1. Bits beyond are meaningless."""


class TokenMask(Protocol):
    """The rules of one continuation, as far as it has come. Two threads may use it, one after the other.

    What it raises ends the request alone.
    """

    def takes(self, token: int) -> bool:
        """Whether a token may come next, told without looking at the others; False also where only all of them can tell."""
        ...

    def allowed(self, row: Row) -> None:
        """Set the bits of the tokens that may come next, at least one, and clear the others. Changes nothing of the mask."""
        ...

    def advance(self, token: int) -> bool:
        """Take the token that has come, one of those allowed. Whether another one may follow it."""
        ...

    def fork(self) -> "TokenMask":
        """Another one that has come as far; neither sees what becomes of the other. For tokens that may not come at all."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens about which the form leaves no choice here, as its text is mostly written; empty if there are none."""
        ...


class Grammar(Protocol):
    """A form for answers. Any thread may use it.

    text
        The grammar as it is written, of which Grammars of the same model make it again in another process.
    """

    @property
    def text(self) -> str:
        """See above."""
        ...

    def mask(self, ends: frozenset[int]) -> TokenMask:
        """A mask at the beginning of an answer. ``ends`` may come where the form lets the answer end, and nowhere else."""
        ...


def row_length(vocabulary: int) -> int:
    """How many numbers a row has."""
    return (vocabulary + WORD - 1) // WORD


def forbidden_tokens(row: Row, vocabulary: int) -> npt.NDArray[np.bool_]:
    """A row as a boolean for each token [vocabulary], which is true for those that may not come."""
    allowed: npt.NDArray[np.uint8] = np.unpackbits(row.view(np.uint8), count=vocabulary, bitorder="little")
    return np.equal(allowed, 0)
