"""How long blocks of the cache live, how long they lie idle before they are evicted, and how far apart their uses are.

A sample: of every ``SAMPLED_ONE_IN`` whole blocks that are stored, one is followed until it leaves the cache. A use is a
request whose prompt begins with the block's tokens and all before them, found readable when it was admitted; that part of a
block is copied is none.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from foreword.events import AllBlocksCleared, BlockRemoved, BlockReused, BlockStored, CacheEvent
from foreword.tokens import TOKEN_BYTES

SAMPLED_ONE_IN = 101  # a prime: among prompts of one round length it is not always the same place that is sampled
REMEMBERED_USES = 4


@dataclass(frozen=True, slots=True)
class BlockLife:
    """What became of a block, in seconds.

    lifetime
        From when it was stored to when it left the cache: evicted, or forgotten with all the others.
    idle
        From its last use, or from when it was stored if it had none, to the same end.
    reuse_gaps
        Between one use and the next, of the last ``REMEMBERED_USES``.
    """

    lifetime: float
    idle: float
    reuse_gaps: tuple[float, ...]


class BlockLives:
    """Follows the sampled blocks of a cache with ``num_blocks`` blocks of ``block_size`` tokens. Not thread-safe."""

    def __init__(self, num_blocks: int, block_size: int):
        self._width = block_size * TOKEN_BYTES
        self._to_pass = SAMPLED_ONE_IN - 1  # whole blocks until the next one that is sampled
        self._followed: dict[int, _Followed] = {}
        self._is_followed = np.zeros(num_blocks, np.bool_)  # to be asked for many blocks at once

    def __call__(self, event: CacheEvent, now: float) -> list[BlockLife]:
        """Take an event of the cache, which happened at ``now`` in seconds of any clock; returns the lives that it ended."""
        if isinstance(event, BlockStored):
            self._store(event, now)
        elif isinstance(event, BlockReused):
            blocks = np.frombuffer(event.blocks, np.int32)
            for block in blocks[self._is_followed[blocks]].tolist():
                self._followed[block].uses.append(now)
        elif isinstance(event, BlockRemoved):
            return [self._end(block, now) for block in event.blocks if block in self._followed]
        elif isinstance(event, AllBlocksCleared):
            self._followed.clear()
            self._is_followed[:] = False
        return []

    def _store(self, event: BlockStored, now: float) -> None:
        """Sample the whole blocks: a begun one at an event's end is told again when it is full."""
        whole = len(event.tokens) // self._width
        for index in range(self._to_pass, whole, SAMPLED_ONE_IN):
            block = event.blocks[index]
            self._followed[block] = _Followed(now)
            self._is_followed[block] = True
        self._to_pass = (self._to_pass - whole) % SAMPLED_ONE_IN

    def _end(self, block: int, now: float) -> BlockLife:
        self._is_followed[block] = False
        return self._followed.pop(block).life(now)


@dataclass(slots=True)
class _Followed:
    """A block that is followed, with times in seconds of the caller's clock."""

    stored: float
    uses: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_USES))

    def life(self, now: float) -> BlockLife:
        last = self.uses[-1] if self.uses else self.stored
        return BlockLife(now - self.stored, now - last, tuple(later - earlier for earlier, later in pairwise(self.uses)))
