"""A batch of prompts in the order of their prefix tree, so that each prefix is computed while it is still in the cache."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from foreword.errors import ParameterError, PromptError
from foreword.tokens import shared_tokens

T = TypeVar("T")
TokenArray = np.ndarray[tuple[int], np.dtype[np.uint32]]


@dataclass(frozen=True)
class Grouping:
    """A batch in the order in which it should run.

    ``order`` holds the places of the prompts in the batch as it was given. ``computed_tokens`` is what a cache that holds
    the whole tree computes: each token of the tree once, and one token for each prompt that is there already.
    ``prompt_tokens`` is what it takes without a cache.
    """

    order: tuple[int, ...]
    prompt_tokens: int
    computed_tokens: int

    def arrange(self, items: Sequence[T]) -> list[T]:
        """Items of the batch, such as its prompts, in running order."""
        return [items[place] for place in self.order]

    def restore(self, results: Sequence[T]) -> list[T]:
        """Results in running order, put back into the order of the batch."""
        return [result for _, result in sorted(zip(self.order, results, strict=True), key=lambda pair: pair[0])]


def group_by_prefix(prompts: Iterable[Sequence[int] | bytes], scopes: Sequence[Hashable] | None = None) -> Grouping:
    """Order prompts (token ids, or packed tokens) as a walk of their prefix tree: what shares a beginning stands together.

    Prompts share only within a scope (a cache salt, a tenant); without ``scopes`` all are in one. Scopes come in the order
    of their first prompt, the branches of a tree in the order of their tokens. O(n log n) comparisons of prompts.
    PromptError for a prompt that is no list of token ids, ParameterError where there is not one scope for each prompt.
    """
    arrays = [_token_array(prompt) for prompt in prompts]
    scope_of = list(scopes) if scopes is not None else [None] * len(arrays)
    if len(scope_of) != len(arrays):
        raise ParameterError(f"There are {len(scope_of)} scopes for {len(arrays)} prompts; each prompt needs one.")
    rank = {scope: number for number, scope in enumerate(dict.fromkeys(scope_of))}
    keys = [(rank[scope], array.astype(">u4").tobytes()) for scope, array in zip(scope_of, arrays, strict=True)]
    order = sorted(range(len(arrays)), key=keys.__getitem__)
    total = sum(len(array) for array in arrays)
    shared = 0
    for before, after in pairwise(order):
        if keys[before][0] == keys[after][0]:
            shared += min(shared_tokens(keys[before][1], keys[after][1]), max(0, len(arrays[after]) - 1))
    return Grouping(tuple(order), total, total - shared)


def _token_array(prompt: Sequence[int] | bytes) -> TokenArray:
    if isinstance(prompt, bytes):
        return np.frombuffer(prompt, np.uint32)
    try:
        array = np.asarray(prompt, np.uint32)
    except (ValueError, TypeError, OverflowError) as error:
        raise PromptError(f"{prompt!r:.60} is no list of token ids ({error}); tokenize texts first.") from error
    if array.ndim == 1 and any(isinstance(token, float) for token in prompt):
        raise PromptError(f"{prompt!r:.60} is no list of token ids: they are whole numbers.")
    if array.ndim != 1:
        raise PromptError(f"{prompt!r:.60} is no list of token ids; a batch is a list of such lists.")
    return array
