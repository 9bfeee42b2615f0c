"""A block's pieces between memory and a file, without a copy of ours."""

import os
from collections.abc import Sequence

from foreword.tiers.base import Pieces

MAX_VECTORS = 1024
"""How many pieces one system call takes (IOV_MAX of Linux)."""
STAGED_BELOW = 1024
"""Pieces shorter than this on average go through one buffer: to the system each costs more than a copy."""


def size_of(pieces: Pieces) -> int:
    """Bytes of a block."""
    return sum(map(len, pieces))


def gather(pieces: Pieces) -> bytes:
    """The pieces as one."""
    return b"".join(pieces)


def scatter(data: memoryview, pieces: Pieces) -> None:
    """Fill the pieces with what ``gather`` would make of them."""
    at = 0
    for piece in pieces:
        piece[:] = data[at : at + len(piece)]
        at += len(piece)


def read_pieces(file: int, offset: int, pieces: Pieces, size: int | None = None) -> bool:
    """Fill the pieces from a place of a file; False if it ends before. OSError as of the system. ``size``: of all pieces."""
    size = size_of(pieces) if size is None else size
    if _many_and_small(pieces, size):
        staged = bytearray(size)
        if not read_pieces(file, offset, [memoryview(staged)]):
            return False
        scatter(memoryview(staged), pieces)
        return True
    done = 0
    while done < size:
        count = os.preadv(file, _vectors(pieces, done), offset + done)
        if not count:
            return False
        done += count
    return True


def write_pieces(file: int, offset: int, pieces: Pieces) -> None:
    """Write all pieces to a place of a file. OSError as of the system."""
    size = size_of(pieces)
    if _many_and_small(pieces, size):
        pieces = [memoryview(gather(pieces))]
    done = 0
    while done < size:
        done += os.pwritev(file, _vectors(pieces, done), offset + done)


def _many_and_small(pieces: Pieces, size: int) -> bool:
    return len(pieces) > 1 and size < STAGED_BELOW * len(pieces)


def _vectors(pieces: Pieces, done: int) -> Sequence[memoryview]:
    """What is left of the pieces after ``done`` bytes, as much of it as one call takes."""
    if not done:
        return pieces if len(pieces) <= MAX_VECTORS else pieces[:MAX_VECTORS]
    left, skipped = [], 0
    for piece in pieces:
        if skipped + len(piece) > done:
            left.append(piece[max(done - skipped, 0) :])
            if len(left) == MAX_VECTORS:
                break
        skipped += len(piece)
    return left
