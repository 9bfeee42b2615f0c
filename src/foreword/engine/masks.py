"""What a layer's tokens see, read from the mask that transformers would give it: all that came before, a window, or a chunk.

transformers describes a mask by a function of two positions. It is asked about enough of them, up to the end of the context,
to know which of these kinds it is, whatever a configuration calls it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

MaskFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""transformers': of batch, head, query and key, all int64 and of shapes that can be broadcast: is it seen?"""
MOST_POSITIONS = 2**20
SAMPLES = 4096


@dataclass(frozen=True)
class Sight:
    """What a token sees: of the last ``window`` tokens, itself among them, or of its ``chunk``; None: of all."""

    window: int | None = None
    chunk: int | None = None

    def sees(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Whether tokens at positions ``query`` see those at ``key``."""
        seen = key <= query
        if self.window is not None:
            seen &= query - key < self.window
        if self.chunk is not None:
            seen &= key // self.chunk == query // self.chunk
        return seen


def sight_of(mask: MaskFunction, context: int) -> Sight | None:
    """Of a mask, for contexts up to ``context`` tokens; None where it is of another kind."""
    count = min(context, MOST_POSITIONS)
    places = torch.arange(count)
    first = _ask(mask, places, torch.zeros_like(places))  # who sees the first token
    reach = count if bool(first.all()) else int((~first).nonzero()[0, 0])
    if reach == 0:
        return None
    kinds = [Sight()] if reach == count else [Sight(window=reach), Sight(chunk=reach)]
    random = torch.Generator().manual_seed(0)
    query = torch.randint(count, (SAMPLES,), generator=random)
    near = (query + torch.randint(-2 * reach, 3, (SAMPLES,), generator=random)).clamp(0, count - 1)
    near[:64] = (query[:64] - reach + torch.arange(64) % 3).clamp(0, count - 1)
    query, key = torch.cat([query, query, places[:64]]), torch.cat([near, query, (places[:64] + 1).clamp(max=count - 1)])
    seen = _ask(mask, query, key)
    return next((kind for kind in kinds if torch.equal(kind.sees(query, key), seen)), None)


def mask_of(mask: MaskFunction, queries: int, keys: int) -> torch.Tensor:
    """The mask [1, 1, queries, keys] itself."""
    query, key = torch.arange(queries)[:, None].expand(-1, keys), torch.arange(keys)[None].expand(queries, -1)
    return _ask(mask, query.reshape(-1), key.reshape(-1)).reshape(1, 1, queries, keys).clone()


def _ask(mask: MaskFunction, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    none = torch.zeros_like(query)
    return mask(none, none, query, key).broadcast_to(query.shape)
