"""The index of prefixes: which replicas have how much of a prompt."""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from foreword.routing.block_table import BlockTable, Numbers
from foreword.routing.holder_sets import HolderSets
from foreword.routing.reach import Reach
from foreword.routing.records import BlockHashes

SETS_BEFORE_CLEANING = 4096


class PrefixIndex:
    """Blocks and who has them; a replica is a small number. About 25 bytes a block, whoever has it.

    A replica has a prefix as far as it has every block of it: one that is missing hides those behind it until it comes.
    None is missing while all that replicas tell is known, for they have blocks only behind those before: then the places
    where fewer have a prompt are searched for by halves, and few of its blocks are looked at. Else all of them are.
    """

    def __init__(self, expected_blocks: int = 1024):
        self._table = BlockTable(expected_blocks)
        self._sets = HolderSets()
        self._clean_at = SETS_BEFORE_CLEANING
        self._blocks: Counter[int] = Counter()
        self._doubted: set[int] = set()

    def doubt(self, replica: int) -> None:
        """Until it is cleared a replica may have blocks without having those before them."""
        self._doubted.add(replica)

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
        self._doubted.discard(replica)
        if self._blocks.pop(replica, 0):
            self._table.renumber(self._sets.without(replica))
            self._clean(at_once=True)

    def reach(self, hashes: BlockHashes) -> Reach:
        """How far into a prompt replicas have it."""
        masks, reach, alive = self._sets.masks, Reach(), -1
        if not len(hashes):
            return reach
        for end, number in self._whole(hashes) if self._doubted else self._searched(hashes):
            alive &= masks[number]
            if not alive:
                break
            reach.append((end, alive))
        return reach

    def blocks(self, replica: int | None = None) -> int:
        """How many blocks a replica has, or (None) anybody."""
        return self._table.count if replica is None else self._blocks[replica]

    def nbytes(self) -> int:
        """Memory of the index, about."""
        masks = self._sets.masks
        return self._table.nbytes() + len(masks) * (200 + masks[-1].bit_length() // 7)

    def _searched(self, hashes: BlockHashes) -> Iterator[tuple[int, int]]:
        """The runs of blocks that one set of replicas has, by their ends, where no block is missing before another."""
        number, item, count = self._table.number, hashes.item, len(hashes)
        begin, final = 0, number(item(-1))
        while begin < count:
            own = number(item(begin))
            low, high = (count - 1, count) if own == final else (begin, count - 1)  # the last of the run, and one behind it
            while low + 1 < high:
                middle = (low + high) // 2
                if number(item(middle)) == own:
                    low = middle
                else:
                    high = middle
            begin = high
            yield high, own

    def _whole(self, hashes: BlockHashes) -> Iterator[tuple[int, int]]:
        """The same runs, by every block."""
        numbers = self._table.get(hashes)
        ends = np.append((numbers[1:] != numbers[:-1]).nonzero()[0] + 1, len(hashes))
        return zip(ends.tolist(), numbers[ends - 1].tolist(), strict=True)

    def _change(self, hashes: BlockHashes, change: Callable[[int], int]) -> Numbers:
        different = np.unique(hashes) if len(hashes) > 1 else hashes
        return self._table.change(different, lambda numbers: self._sets.changed(numbers, change))

    def _clean(self, at_once: bool = False) -> None:
        """Forget sets that no block has, once there are twice as many as were in use."""
        if len(self._sets.masks) < self._clean_at and not at_once:
            return
        self._table.renumber(self._sets.keep(self._table.used(len(self._sets.masks))))
        self._clean_at = max(SETS_BEFORE_CLEANING, 2 * len(self._sets.masks))
