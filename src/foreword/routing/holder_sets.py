"""Sets of replicas, each once, as a bit mask under a small number: most blocks of a fleet share few sets."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foreword.routing.block_table import Numbers

NOBODY = 0
"""The number of the empty set."""


class HolderSets:
    """Numbers for sets of replicas; a replica is a bit. ``masks`` has the sets by number."""

    def __init__(self) -> None:
        self.masks: list[int] = [0]
        self._numbers: dict[int, int] = {0: NOBODY}

    def changed(self, numbers: Numbers, change: Callable[[int], int]) -> Numbers:
        """The numbers of the sets that become of these by a change of their masks."""
        kinds, places = _kinds(numbers)
        return np.array([self._number(change(self.masks[kind])) for kind in kinds], np.uint32)[places]

    def having(self, numbers: Numbers, bit: int) -> npt.NDArray[np.bool_]:
        """In which of these sets a replica is."""
        kinds, places = _kinds(numbers)
        return np.array([self.masks[kind] >> bit & 1 for kind in kinds], np.bool_)[places]

    def without(self, bit: int) -> Numbers:
        """The number of each set → that of the set without a replica."""
        gone = ~(1 << bit)
        return np.array([self._number(mask & gone) for mask in tuple(self.masks)], np.uint32)

    def keep(self, used: Numbers) -> Numbers:
        """Forget all sets but these: number before → number from now on."""
        masks, renamed = self.masks, np.zeros(len(self.masks), np.uint32)
        self.masks, self._numbers = [0], {0: NOBODY}
        for number in used.tolist():
            renamed[number] = self._number(masks[number])
        return renamed

    def _number(self, mask: int) -> int:
        number = self._numbers.get(mask)
        if number is None:
            number = self._numbers[mask] = len(self.masks)
            self.masks.append(mask)
        return number


def _kinds(numbers: Numbers) -> tuple[list[int], npt.NDArray[np.intp]]:
    """The different numbers, and which of them stands where; neighbours are mostly equal."""
    if not len(numbers) or (numbers == numbers[0]).all():
        return numbers[:1].tolist(), np.zeros(len(numbers), np.intp)
    kinds, places = np.unique(numbers, return_inverse=True)
    return kinds.tolist(), places
