"""A store whose blocks are encrypted, each with its owner's key: AES-256-GCM over the tokens and the KV."""

import os
from collections.abc import Sequence

from foreword.lazy import extra_needed
from foreword.tiers.base import BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.pieces import gather, scatter
from foreword.tiers.tenant_keys import TenantKeys

with extra_needed("A store's key", "tiers"):
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES, TAG_BYTES = 12, 16
AT_ONCE = 8
"""Blocks that lie encrypted in memory while they are written."""


class SealedStore:
    """A BlockStore over another one, which sees names and ciphertext alone.

    A sealed block is nonce, tag, encrypted tokens, encrypted KV; name, parent and identity are authenticated too. One
    that was changed, or sealed with another key, is CORRUPT. (Nonces are random: one key may seal 2**32 blocks.)
    """

    def __init__(self, inner: BlockStore, tenants: TenantKeys, identity: Identity):
        self._inner = inner
        self._tenants = tenants
        self._identity = identity

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there; whether they can be opened is seen when they are read."""
        return self._inner.exists_many(names)

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read ciphertext into the pieces, and decrypt it there."""
        heads = [memoryview(bytearray(NONCE_BYTES + TAG_BYTES + len(key.tokens))) for key in keys]
        sealed = [[head, *pieces] for head, pieces in zip(heads, into, strict=True)]
        outcomes = self._inner.get_many([_without_tokens(key) for key in keys], sealed)
        return [
            self._open(key, head, pieces) if outcome is Outcome.FOUND else outcome
            for key, head, pieces, outcome in zip(keys, heads, into, outcomes, strict=True)
        ]

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Encrypt blocks and write them, some at a time."""
        taken = 0
        for at in range(0, len(keys), AT_ONCE):
            some = keys[at : at + AT_ONCE]
            sealed = [self._seal(key, pieces) for key, pieces in zip(some, blocks[at : at + AT_ONCE], strict=True)]
            taken += self._inner.put_many([_without_tokens(key) for key in some], sealed, keep_until)
        return taken

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks for good."""
        return self._inner.delete_many(names)

    def flush(self) -> None:
        """What was taken before can be read by everyone who has the key."""
        self._inner.flush()

    def usage(self) -> StoreUsage:
        """What the store beneath holds and has done."""
        return self._inner.usage()

    def close(self) -> None:
        """Close the store beneath."""
        self._inner.close()

    def _seal(self, key: BlockKey, pieces: Pieces) -> Pieces:
        nonce = os.urandom(NONCE_BYTES)
        plain = key.tokens + gather(pieces)
        sealed = self._cipher(key).encrypt(nonce, plain, self._bound_to(key))
        return [memoryview(nonce), memoryview(sealed)[-TAG_BYTES:], memoryview(sealed)[:-TAG_BYTES]]

    def _open(self, key: BlockKey, head: memoryview, pieces: Pieces) -> Outcome:
        """The tokens are in the head, behind nonce and tag; the KV in the pieces."""
        nonce, tag, tokens = head[:NONCE_BYTES], head[NONCE_BYTES : NONCE_BYTES + TAG_BYTES], head[NONCE_BYTES + TAG_BYTES :]
        try:
            plain = self._cipher(key).decrypt(nonce, gather([tokens, *pieces, tag]), self._bound_to(key))
        except InvalidTag:
            return Outcome.CORRUPT
        if plain[: len(tokens)] != key.tokens:
            return Outcome.OTHER
        scatter(memoryview(plain)[len(tokens) :], pieces)
        return Outcome.FOUND

    def _cipher(self, key: BlockKey) -> AESGCM:
        return AESGCM(self._tenants.sealing_key(key.owner))

    def _bound_to(self, key: BlockKey) -> bytes:
        return key.name + key.parent + self._identity.digest


def _without_tokens(key: BlockKey) -> BlockKey:
    return BlockKey(key.name, key.parent, b"")
