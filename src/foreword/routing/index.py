"""The index of prefixes: which replicas have how much of a prompt."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foreword.routing.block_table import BlockTable, Numbers
from foreword.routing.holder_sets import HolderSets
from foreword.routing.records import BlockHashes

Depths = npt.NDArray[np.int64]
"""Blocks, one entry a replica."""

SETS_BEFORE_CLEANING = 4096


class PrefixIndex:
    """Blocks and who has them; a replica is a small number. About 25 bytes a block, whoever has it.

    A replica has a prefix as far as it has every block of it: one that is missing hides those behind it until it comes.
    """

    def __init__(self, expected_blocks: int = 1024):
        self._table = BlockTable(expected_blocks)
        self._sets = HolderSets()
        self._clean_at = SETS_BEFORE_CLEANING
        self._blocks: Counter[int] = Counter()

    def store(self, replica: int, hashes: BlockHashes) -> None:
        """A replica has these blocks; those that it had before are no others."""
        bit = 1 << replica
        before = self._change(hashes, lambda mask: mask | bit)
        self._blocks[replica] += int(np.count_nonzero(~self._sets.having(before, replica)))
        self._clean()

    def remove(self, replica: int, hashes: BlockHashes) -> int:
        """A replica does not have these blocks any more. Returns how many of them it did not have."""
        gone = ~(1 << replica)
        before = self._change(hashes, lambda mask: mask & gone)
        known = int(np.count_nonzero(self._sets.having(before, replica)))
        self._blocks[replica] -= known
        return len(hashes) - known

    def has(self, replica: int, hashes: BlockHashes) -> npt.NDArray[np.bool_]:
        """Which of these blocks a replica has."""
        return self._sets.having(self._table.get(hashes), replica)

    def clear(self, replica: int) -> None:
        """A replica has nothing."""
        if self._blocks.pop(replica, 0):
            self._table.renumber(self._sets.without(replica))
            self._clean(at_once=True)

    def depths(self, hashes: BlockHashes, replicas: int) -> Depths:
        """How many blocks from the first on each replica has, for replicas 0 to ``replicas`` - 1."""
        depths = np.zeros(replicas, np.int64)
        numbers, masks = self._table.get(hashes), self._sets.masks
        if not len(numbers) or not numbers[0]:
            return depths
        alive = masks[numbers[0]]
        begins = (numbers[1:] != numbers[:-1]).nonzero()[0] + 1  # where another set begins
        for at, number in zip(begins.tolist(), numbers[begins].tolist(), strict=True):
            lost = alive & ~masks[number]
            if lost:
                depths[_bits(lost, replicas)] = at
                alive &= masks[number]
            if not alive:
                return depths
        depths[_bits(alive, replicas)] = len(hashes)
        return depths

    def blocks(self, replica: int | None = None) -> int:
        """How many blocks a replica has, or (None) anybody."""
        return self._table.count if replica is None else self._blocks[replica]

    def nbytes(self) -> int:
        """Memory of the index, about."""
        masks = self._sets.masks
        return self._table.nbytes() + len(masks) * (200 + masks[-1].bit_length() // 7)

    def _change(self, hashes: BlockHashes, change: Callable[[int], int]) -> Numbers:
        different = np.unique(hashes) if len(hashes) > 1 else hashes
        return self._table.change(different, lambda numbers: self._sets.changed(numbers, change))

    def _clean(self, at_once: bool = False) -> None:
        """Forget sets that no block has, once there are twice as many as were in use."""
        if len(self._sets.masks) < self._clean_at and not at_once:
            return
        self._table.renumber(self._sets.keep(self._table.used(len(self._sets.masks))))
        self._clean_at = max(SETS_BEFORE_CLEANING, 2 * len(self._sets.masks))


def _bits(mask: int, count: int) -> npt.NDArray[np.intp]:
    """The numbers of the bits of a mask, below ``count``."""
    size = -(-count // 8)
    low = (mask & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return np.flatnonzero(np.unpackbits(np.frombuffer(low, np.uint8), count=count, bitorder="little"))
