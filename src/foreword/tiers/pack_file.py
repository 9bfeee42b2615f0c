"""The format of a pack: a file of many blocks, written once and never changed.

    header   4,096 bytes: magic, version, the identity's digest and text, checksum
    blocks   one after another: the bytes of their pieces
    footer   for each block where it lies, its length, checksum, name, parent's name, tokens and until when it is kept
    trailer  where the footer lies, how many blocks it has, checksum of footer and trailer, magic

Numbers are little-endian. A pack without a valid trailer and footer was not finished: it holds nothing.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from foreword.tiers.base import NAME_BYTES, BlockKey, Pieces
from foreword.tiers.checksum import CHECKSUM_BYTES, checksum
from foreword.tiers.identity import Identity
from foreword.tiers.pieces import read_pieces, size_of, write_pieces

MAGIC, END = b"FWKVPACK", b"FWKVDONE"
VERSION = 1
HEADER_BYTES = 4096
_HEAD = struct.Struct("<8sI32sI")  # magic, version, identity, bytes of its text
_ENTRY = struct.Struct(f"<QI{CHECKSUM_BYTES}s{NAME_BYTES}s{NAME_BYTES}sdI")
_TRAILER = struct.Struct("<QQI")  # offset and bytes of the footer, blocks
_TAIL = _TRAILER.size + CHECKSUM_BYTES + len(END)
EMPTY_BYTES = HEADER_BYTES + _TAIL
"""Of a pack without blocks."""


class UnreadablePack(Exception):
    """A file that is no pack, or a damaged one."""


class NewerPack(UnreadablePack):
    """A pack of a version that is not known here."""


class PackedBlock(NamedTuple):
    """A block in a pack: bytes [offset, offset + length) of the file. ``kept_until``: seconds since 1970.

    (A named tuple, which is made in half the time of a frozen dataclass: a footer has thousands.)
    """

    offset: int
    length: int
    checksum: bytes
    name: bytes
    parent: bytes
    kept_until: float
    tokens: bytes


@dataclass(frozen=True, slots=True)
class PackContents:
    """What a pack says of itself."""

    identity: Identity
    blocks: Sequence[PackedBlock]


class PackWriter:
    """Writes one pack into an open, empty file. OSError as of the system."""

    def __init__(self, file: int, identity: Identity):
        self._blocks: list[PackedBlock] = []
        self.size = EMPTY_BYTES
        """Bytes the pack will have when it is finished now."""
        self._end = HEADER_BYTES
        self._file = file
        write_pieces(file, 0, [memoryview(_header(identity))])

    def append(self, key: BlockKey, pieces: Pieces, digest: bytes, kept_until: float) -> PackedBlock:
        """Add a block; returns what the footer will say of it.

        ``digest``: its pieces' checksum, made when they were read last.
        """
        write_pieces(self._file, self._end, pieces)
        block = PackedBlock(self._end, size_of(pieces), digest, key.name, key.parent, kept_until, key.tokens)
        self._blocks.append(block)
        self._end += block.length
        self.size += packed_bytes(key, pieces)
        return block

    def finish(self) -> None:
        """Write footer and trailer, and wait until the disk has all of it."""
        footer = b"".join(map(_entry, self._blocks))
        trailer = _TRAILER.pack(self._end, len(footer), len(self._blocks))
        end = footer + trailer + checksum([memoryview(footer), memoryview(trailer)]) + END
        write_pieces(self._file, self._end, [memoryview(end)])
        os.fdatasync(self._file)


def packed_bytes(key: BlockKey, pieces: Pieces) -> int:
    """What a block takes in a pack, with its line of the footer."""
    return size_of(pieces) + _ENTRY.size + len(key.tokens)


def read_contents(file: int) -> PackContents:
    """Header and footer of an open pack. UnreadablePack if it is none or damaged; OSError as of the system."""
    size = os.fstat(file).st_size
    if size < EMPTY_BYTES:
        raise UnreadablePack(f"it has {size} bytes, too few for a pack")
    identity = _read_header(_read(file, 0, HEADER_BYTES))
    tail = _read(file, size - _TAIL, _TAIL)
    offset, length, count = _TRAILER.unpack_from(tail)
    if tail[-len(END) :] != END or offset < HEADER_BYTES or offset + length + _TAIL != size:
        raise UnreadablePack("it has no end, as of a pack that was not finished or was cut")
    footer = _read(file, offset, length)
    digest = checksum([memoryview(footer), memoryview(tail)[: _TRAILER.size]])
    if digest != tail[_TRAILER.size : _TRAILER.size + CHECKSUM_BYTES]:
        raise UnreadablePack("the checksum of its footer is wrong")
    return PackContents(identity, _read_entries(footer, count))


def _header(identity: Identity) -> bytes:
    text = identity.text.encode()
    if len(text) > HEADER_BYTES - CHECKSUM_BYTES - _HEAD.size:
        text = b""
    head = _HEAD.pack(MAGIC, VERSION, identity.digest, len(text)) + text
    head = head.ljust(HEADER_BYTES - CHECKSUM_BYTES, b"\0")
    return head + checksum([memoryview(head)])


def _read_header(header: bytes) -> Identity:
    magic, version, digest, length = _HEAD.unpack_from(header)
    if magic != MAGIC:
        raise UnreadablePack("it does not begin like a pack")
    if version != VERSION:
        raise NewerPack(f"its format is of version {version}, {VERSION} is known")
    body, found = header[:-CHECKSUM_BYTES], header[-CHECKSUM_BYTES:]
    if checksum([memoryview(body)]) != found:
        raise UnreadablePack("the checksum of its header is wrong")
    return Identity(digest, body[_HEAD.size : _HEAD.size + length].decode())


def _entry(block: PackedBlock) -> bytes:
    places = (block.offset, block.length, block.checksum, block.name, block.parent, block.kept_until, len(block.tokens))
    return _ENTRY.pack(*places) + block.tokens


def _read_entries(footer: bytes, count: int) -> list[PackedBlock]:
    blocks, at = [], 0
    for _ in range(count):
        offset, length, digest, name, parent, kept_until, tokens = _ENTRY.unpack_from(footer, at)
        at += _ENTRY.size + tokens
        blocks.append(PackedBlock(offset, length, digest, name, parent, kept_until, footer[at - tokens : at]))
    return blocks


def _read(file: int, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    if not read_pieces(file, offset, [memoryview(buffer)]):
        raise UnreadablePack("it became shorter while it was read")
    return bytes(buffer)
