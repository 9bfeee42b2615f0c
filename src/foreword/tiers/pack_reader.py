"""Blocks out of one pack into memory, each compared with what its name promises."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from foreword.tiers.base import BlockKey, Outcome, Pieces
from foreword.tiers.checksum import checksum
from foreword.tiers.pack_folder import PackFolder
from foreword.tiers.pack_index import Place
from foreword.tiers.pieces import read_pieces, size_of


class Wanted(NamedTuple):
    """A block that is asked for: which of all, and where it lies."""

    number: int
    key: BlockKey
    place: Place


def read_blocks(
    folder: PackFolder, file: str, wanted: Iterable[Wanted], into: Sequence[Pieces], identity: bytes
) -> list[tuple[int, Outcome]]:
    """Read blocks of one pack, in the order in which they lie; returns what became of each, by its number.

    ``into``: where the blocks of all numbers shall go. A checksum is made at once: the processor still has the block.
    """
    blocks = sorted(wanted, key=lambda each: each.place.offset)
    try:
        with folder.reading(file) as descriptor:
            return [(block.number, _read_block(descriptor, block, into[block.number], identity)) for block in blocks]
    except FileNotFoundError:
        return [(block.number, Outcome.MISSING) for block in blocks]
    except OSError:
        return [(block.number, Outcome.FAILED) for block in blocks]


def _read_block(descriptor: int, wanted: Wanted, into: Pieces, identity: bytes) -> Outcome:
    _, key, place = wanted
    if place.identity != identity or place.tokens != key.tokens or place.length != size_of(into):
        return Outcome.OTHER
    try:
        whole = read_pieces(descriptor, place.offset, into, place.length)
    except OSError:
        return Outcome.FAILED
    return Outcome.FOUND if whole and checksum(into) == place.checksum else Outcome.CORRUPT
