"""Blocks made up for tests of stores: bytes that follow from a number, in several pieces."""

import random
from collections.abc import Sequence

from foreword.cache import ModelFingerprint, Namespace
from foreword.tiers import BlockKey, BlockNames, BlockStore, Identity, Outcome, Pieces, TenantKeys
from foreword.tiers.pieces import scatter
from foreword.tokens import pack_tokens

MODEL = ModelFingerprint(weights="tiny")
IDENTITY = Identity.of(MODEL)
OTHER_MODEL = ModelFingerprint(weights="tiny", kv_dtype="bfloat16")
PIECE, PIECES = 512, 6
BLOCK_BYTES = PIECE * PIECES
TENANTS = TenantKeys(bytes(range(32)))


def made_keys(count: int, first_token: int = 0, model: ModelFingerprint = MODEL) -> list[BlockKey]:
    """A prompt's blocks."""
    tokens = pack_tokens(range(first_token, first_token + 16 * count))
    return BlockNames(Namespace(model).key, 16).keys(tokens)


def made_bytes(key: BlockKey, size: int = BLOCK_BYTES) -> bytes:
    """The KV of a block: what follows from its name."""
    return random.Random(key.name).randbytes(size)


def made_blocks(keys: Sequence[BlockKey]) -> list[Pieces]:
    """Their KV, in pieces."""
    blocks = room(keys)
    for key, pieces in zip(keys, blocks, strict=True):
        scatter(memoryview(made_bytes(key)), pieces)
    return blocks


def room(keys: Sequence[BlockKey]) -> list[Pieces]:
    """Pieces to read so many blocks into."""
    return [_cut(bytearray(BLOCK_BYTES)) for _ in keys]


def put(store: BlockStore, keys: Sequence[BlockKey]) -> int:
    """Write blocks, and finish."""
    taken = store.put_many(keys, made_blocks(keys))
    store.flush()
    return taken


def read(store: BlockStore, keys: Sequence[BlockKey]) -> list[Outcome]:
    """Read blocks; fails if one that is FOUND has another's bytes."""
    into = room(keys)
    outcomes = store.get_many(keys, into)
    for key, pieces, outcome in zip(keys, into, outcomes, strict=True):
        assert outcome is not Outcome.FOUND or b"".join(pieces) == made_bytes(key), "wrong bytes"
    return outcomes


def found(store: BlockStore, keys: Sequence[BlockKey]) -> int:
    """How many of the blocks can be read."""
    return read(store, keys).count(Outcome.FOUND)


def _cut(data: bytearray) -> Pieces:
    """In an order that is not that of memory."""
    view = memoryview(data)
    return [view[at : at + PIECE] for at in (*range(0, BLOCK_BYTES, 2 * PIECE), *range(PIECE, BLOCK_BYTES, 2 * PIECE))]
