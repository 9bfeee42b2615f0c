"""The same bytes read without a store: what disk and memory allow."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foreword.tiers.base import Pieces
from foreword.tiers.pack_file import read_contents

Place = tuple[int, int]
"""An open file, and where in it a block begins."""


class PlainReader:
    """Blocks of packs by ``preadv``, a call a block, into plain memory in pieces as those of a pool."""

    def __init__(self, folder: Path, count: int, piece_sizes: Sequence[int]):
        """``count`` blocks at most, in the order of the packs."""
        self._files = [os.open(file, os.O_RDONLY) for file in sorted(folder.glob("*.pack"), key=_finished)]
        places = [(file, block.offset) for file in self._files for block in read_contents(file).blocks]
        self._places = places[:count]
        self._into = plain_memory(len(self._places), piece_sizes)

    @property
    def size(self) -> int:
        """Bytes that are read at a time."""
        return sum(sum(map(len, pieces)) for pieces in self._into)

    def seconds(self) -> float:
        """How long reading all of them takes."""
        begun = time.perf_counter()
        for (file, offset), pieces in zip(self._places, self._into, strict=True):
            assert os.preadv(file, pieces, offset) == sum(map(len, pieces))
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            os.close(file)


def plain_memory(count: int, piece_sizes: Sequence[int]) -> list[Pieces]:
    """So many blocks; the pieces of one lie as far from each other as in a pool."""
    rows = [(size, np.zeros(count * size, np.uint8).data) for size in piece_sizes]
    return [[row[block * size :][:size] for size, row in rows] for block in range(count)]


def _finished(file: Path) -> int:
    return file.stat().st_mtime_ns
