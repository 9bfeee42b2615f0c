"""The block pool: which blocks of KV memory are free. It knows ids, not memory."""

from array import array
from typing import TYPE_CHECKING, TypeAlias

from foreword.errors import IntegrityError

if TYPE_CHECKING:
    Blocks: TypeAlias = array[int]
else:
    Blocks = array  # cannot be subscripted before Python 3.13
"""Block ids. Never changed in place: nodes and block tables may stand on one memory.

At the length of a prompt an array is sliced and copied in a quarter of the time that NumPy takes.
"""
BLOCK_ID = "i"


class BlockPool:
    """A stack of free block ids, and pins that delay a block's return to it.

    Every block has one owner (the tree or a reservation). A pin is one more reference, taken while the block is the
    source of a copy that has not run yet: a pinned block that its owner frees goes back to the stack when unpinned.
    Fresh and returned runs come out in ascending order, so that neighbours in a prompt are neighbours in memory.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.free_count = capacity
        self._stack = array(BLOCK_ID, range(capacity))  # the last ``free_count`` are free, the first of them is the top
        self._pins: dict[int, int] = {}
        self._limbo: set[int] = set()

    def allocate(self, count: int) -> Blocks:
        """Take blocks off the stack; IntegrityError when there are fewer: callers make room first."""
        if count > self.free_count:
            raise IntegrityError(f"{count} blocks asked of a pool with {self.free_count} free ones.")
        top = self.capacity - self.free_count
        self.free_count -= count
        return self._stack[top : top + count]

    def free(self, blocks: Blocks) -> None:
        """Give blocks back."""
        if self._pins:
            pinned = self._pins.keys() & set(blocks)
            if pinned:
                self._limbo |= pinned
                blocks = array(BLOCK_ID, [block for block in blocks if block not in pinned])
        top = self.capacity - self.free_count
        self.free_count += len(blocks)
        self._stack[top - len(blocks) : top] = blocks

    def pin(self, block: int) -> None:
        """Keep the content of a block readable even if its owner frees it."""
        self._pins[block] = self._pins.get(block, 0) + 1

    def unpin(self, block: int) -> None:
        """Undo one pin."""
        count = self._pins[block] - 1
        if count:
            self._pins[block] = count
            return
        del self._pins[block]
        if block in self._limbo:
            self._limbo.remove(block)
            self.free(array(BLOCK_ID, [block]))

    def free_blocks(self) -> Blocks:
        """A copy of the ids on the stack."""
        return self._stack[self.capacity - self.free_count :]

    def limbo_blocks(self) -> set[int]:
        """Blocks without an owner that are only kept by a pin."""
        return set(self._limbo)
