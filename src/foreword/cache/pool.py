"""The block pool: which blocks of KV memory are free. It knows ids, not memory."""

import numpy as np
import numpy.typing as npt

from foreword.errors import IntegrityError

Blocks = npt.NDArray[np.int32]


class BlockPool:
    """A stack of free block ids, and pins that delay a block's return to it.

    Every block has one owner (the tree or a reservation). A pin is one more reference, taken while the block is the
    source of a copy that has not run yet: a pinned block that its owner frees goes back to the stack when unpinned.
    Fresh and returned runs come out in ascending order, so that neighbours in a prompt are neighbours in memory.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._stack: Blocks = np.arange(capacity - 1, -1, -1, dtype=np.int32)
        self.free_count = capacity
        self._pins: dict[int, int] = {}
        self._limbo: set[int] = set()

    def allocate(self, count: int) -> Blocks:
        """Take blocks off the stack; IntegrityError when there are fewer: callers make room first."""
        if count > self.free_count:
            raise IntegrityError(f"{count} blocks asked of a pool with {self.free_count} free ones.")
        top = self.free_count
        self.free_count = top - count
        return self._stack[top - count : top][::-1].copy()

    def free(self, blocks: Blocks) -> None:
        """Give blocks back."""
        if self._pins:
            pinned = np.isin(blocks, list(self._pins))
            if pinned.any():
                self._limbo.update(blocks[pinned].tolist())
                blocks = blocks[~pinned]
        top = self.free_count
        self.free_count = top + len(blocks)
        self._stack[top : self.free_count] = blocks[::-1]

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
            self.free(np.array([block], np.int32))

    def free_blocks(self) -> Blocks:
        """A copy of the ids on the stack."""
        return self._stack[: self.free_count].copy()

    def limbo_blocks(self) -> set[int]:
        """Blocks without an owner that are only kept by a pin."""
        return set(self._limbo)
