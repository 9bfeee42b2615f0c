"""How far into a prompt replicas have it: a few steps, each a number of blocks and the replicas that have so many."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Depths = npt.NDArray[np.int64]
"""Blocks or tokens, one entry a replica."""
Reach = list[tuple[int, int]]
"""Blocks from the first on, ascending, and the replicas that have so many at least, as a bit mask: each within the one
before. Of several reaches together, in ascending order, the last step with a replica says what it has in any of them."""

FEW = 4  # members that are sooner set one by one


def depths(reach: Reach, replicas: int) -> Depths:
    """How many blocks each replica has, for replicas 0 to ``replicas`` - 1."""
    found = np.zeros(replicas, np.int64)
    for blocks, mask in reach:
        if mask.bit_count() <= FEW:
            while mask:
                found[mask.bit_length() - 1] = blocks
                mask ^= 1 << (mask.bit_length() - 1)
        else:
            found[_members(mask, replicas)] = blocks
    return found


def depth(reach: Reach, replica: int) -> int:
    """How many blocks one replica has."""
    return max((blocks for blocks, mask in reach if mask >> replica & 1), default=0)


@lru_cache(maxsize=4096)
def _members(mask: int, count: int) -> npt.NDArray[np.bool_]:
    """Which of the bits of a mask are set, for bits 0 to ``count`` - 1: there are no others."""
    held = np.frombuffer(mask.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(held, count=count, bitorder="little").view(np.bool_)
