"""A hash table from block hashes to numbers, in two NumPy arrays: a few vectorised steps for a whole prompt."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foreword.routing.records import BlockHashes

Numbers = npt.NDArray[np.uint32]

LANES = 8  # hashes of a bucket: one line of the processor's cache; each wants to lie in one of them, and may in all
FULL = 0.55  # share of the lanes at which the table doubles; three buckets in a hundred are full then


class BlockTable:
    """Hashes, none of them 0, and a number above 0 for each. What finds its bucket full lies in a dict beside it.

    ``count``: how many hashes there are.
    """

    _hashes: BlockHashes
    _numbers: Numbers

    def __init__(self, expected: int = 1024):
        """``expected``: hashes for which there is room before the table grows."""
        self.count = 0
        self._beside: dict[int, int] = {}
        self._make_room(expected)

    def get(self, hashes: BlockHashes) -> Numbers:
        """The numbers of hashes; 0 for those that are not here."""
        return self._read(hashes, self._slots(hashes))

    def number(self, each: int) -> int:
        """The number of one hash; 0 if it is not here."""
        slot = each >> self._shift
        if self._hashes.item(slot) == each:
            return self._numbers.item(slot)
        bucket = self._hashes[slot // LANES].tolist()
        if each in bucket:
            return self._numbers.item(slot - slot % LANES + bucket.index(each))
        return self._beside.get(each, 0)

    def change(self, hashes: BlockHashes, change: Callable[[Numbers], Numbers]) -> Numbers:
        """Give hashes, no two of them equal, other numbers, made of those they had; 0 stands for those that are not here,
        before and after. Returns the numbers they had."""
        slots = self._slots(hashes)
        before = self._read(hashes, slots)
        after = change(before)
        here = slots >= 0
        known, numbers = slots[here], after[here]
        self._numbers[known] = numbers
        gone = known[numbers == 0]
        self._hashes.reshape(-1)[gone] = 0
        self.count -= len(gone)
        if len(known) < len(slots):
            self._put_absent(hashes[~here], after[~here])  # comes last: the table may grow
        return before

    def renumber(self, renamed: Numbers) -> None:
        """Number ``n`` of every hash becomes ``renamed[n]``; where that is 0 the hash goes."""
        self._numbers = renamed[self._numbers]
        self._hashes.reshape(-1)[self._numbers == 0] = 0
        after = {each: int(renamed[number]) for each, number in self._beside.items()}
        self._beside = {each: number for each, number in after.items() if number}
        self.count = int(np.count_nonzero(self._hashes)) + len(self._beside)

    def used(self, most: int) -> Numbers:
        """The numbers below ``most`` that some hash has, ascending."""
        found = np.zeros(most, np.bool_)
        found[self._numbers] = True
        found[list(self._beside.values())] = True
        return np.flatnonzero(found).astype(np.uint32)

    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self._hashes.nbytes + self._numbers.nbytes

    def _read(self, hashes: BlockHashes, slots: npt.NDArray[np.int64]) -> Numbers:
        found = self._numbers.take(slots)
        absent = (slots < 0).nonzero()[0]
        found[absent] = 0
        if self._beside:
            for at in absent.tolist():
                found[at] = self._beside.get(int(hashes[at]), 0)
        return found

    def _slots(self, hashes: BlockHashes) -> npt.NDArray[np.int64]:
        """Where hashes lie; -1 for those that do not lie in the arrays. Three in four lie in their own lanes."""
        slots = self._own_slots(hashes)
        astray = (self._hashes.take(slots) != hashes).nonzero()[0]
        if len(astray):
            buckets = slots.take(astray) // LANES
            found = self._hashes.take(buckets, axis=0) == hashes.take(astray)[:, None]
            lanes = found.argmax(axis=1)
            here = found[np.arange(len(astray)), lanes]
            slots[astray] = np.where(here, buckets * LANES + lanes, -1)
        return slots

    def _own_slots(self, hashes: BlockHashes) -> npt.NDArray[np.int64]:
        """Where hashes want to lie: their first bits choose the bucket, the next ones the lane."""
        return (hashes >> np.uint64(self._shift)).view(np.int64)

    def _put_absent(self, hashes: BlockHashes, numbers: Numbers) -> None:
        """Put in what does not lie in the arrays."""
        if self._beside:
            beside = np.array([each in self._beside for each in hashes.tolist()], np.bool_)
            for each, number in zip(hashes[beside].tolist(), numbers[beside].tolist(), strict=True):
                self._put_beside(each, number)
            hashes, numbers = hashes[~beside], numbers[~beside]
        hashes, numbers = hashes[numbers != 0], numbers[numbers != 0]
        if self.count + len(hashes) > FULL * self._numbers.size:
            self._grow(self.count + len(hashes))
        self._insert(hashes, numbers)

    def _put_beside(self, each: int, number: int) -> None:
        if number:
            self._beside[each] = number
        elif self._beside.pop(each, None) is not None:
            self.count -= 1

    def _insert(self, hashes: BlockHashes, numbers: Numbers) -> None:
        """Put in different hashes that are not here: each round all of them, of those that want one lane the last.

        Each into its own lane, or the first that is free, or beside the arrays.
        """
        self.count += len(hashes)
        lie = self._hashes.reshape(-1)
        while len(hashes):
            own = self._own_slots(hashes)
            buckets = own // LANES
            free = self._hashes.take(buckets, axis=0) == 0
            lanes = free.argmax(axis=1)
            slots = np.where(lie.take(own) == 0, own, buckets * LANES + lanes)
            full = ~free[np.arange(len(hashes)), lanes]
            self._beside.update(zip(hashes[full].tolist(), numbers[full].tolist(), strict=True))
            hashes, numbers, slots = hashes[~full], numbers[~full], slots[~full]
            lie[slots] = hashes
            won = lie[slots] == hashes
            self._numbers[slots[won]] = numbers[won]
            hashes, numbers = hashes[~won], numbers[~won]

    def _grow(self, wanted: int) -> None:
        here = self._numbers != 0
        hashes, numbers = self._hashes.reshape(-1)[here], self._numbers[here]
        beside = self._beside
        self._beside, self.count = {}, 0
        self._make_room(2 * wanted)
        self._insert(hashes, numbers)
        self._insert(np.array(list(beside), np.uint64), np.array(list(beside.values()), np.uint32))

    def _make_room(self, expected: int) -> None:
        """Empty arrays for so many hashes: 0 where there is nothing."""
        bits = max(6, int(expected / FULL / LANES).bit_length())
        self._hashes = np.zeros((1 << bits, LANES), np.uint64)
        self._numbers = np.zeros(LANES << bits, np.uint32)
        self._shift = 64 - (self._hashes.size - 1).bit_length()
