"""The form of a block in a store of values: a head that says what it is, then the bytes of its pieces.

    magic and version, identity's digest, checksum of all that follows, parent's name, length of the tokens, tokens, KV

A store takes a value as a whole, so one head is enough; packs have footers instead (pack_file.py).
"""

import struct

from foreword.tiers.base import NAME_BYTES, BlockKey, Outcome, Pieces
from foreword.tiers.checksum import CHECKSUM_BYTES, checksum
from foreword.tiers.pieces import scatter, size_of

MAGIC = b"FWKVALUE"
VERSION = 1
_HEAD = struct.Struct(f"<8sI32s{CHECKSUM_BYTES}s{NAME_BYTES}sI")
_CHECKED_FROM = _HEAD.size - NAME_BYTES - 4


def value_pieces(key: BlockKey, pieces: Pieces, identity: bytes) -> Pieces:
    """A block as a value, in pieces: its head and its KV."""
    followed = key.parent + len(key.tokens).to_bytes(4, "little") + key.tokens
    digest = checksum([memoryview(key.name), memoryview(followed), *pieces])
    head = MAGIC + VERSION.to_bytes(4, "little") + identity + digest + followed
    return [memoryview(head), *pieces]


def value_bytes(key: BlockKey, pieces: Pieces) -> int:
    """Bytes of a block as a value."""
    return _HEAD.size + len(key.tokens) + size_of(pieces)


def open_value(value: memoryview, key: BlockKey, into: Pieces, identity: bytes) -> Outcome:
    """Copy a value's KV into the pieces: FOUND, OTHER or CORRUPT."""
    if len(value) < _HEAD.size:
        return Outcome.CORRUPT
    magic, version, theirs, digest, parent, count = _HEAD.unpack_from(value)
    if magic != MAGIC or version != VERSION:
        return Outcome.CORRUPT
    if checksum([memoryview(key.name), value[_CHECKED_FROM:]]) != digest:
        return Outcome.CORRUPT
    tokens, kv = value[_HEAD.size : _HEAD.size + count], value[_HEAD.size + count :]
    if theirs != identity or tokens != key.tokens or parent != key.parent or len(kv) != size_of(into):
        return Outcome.OTHER
    scatter(kv, into)
    return Outcome.FOUND
