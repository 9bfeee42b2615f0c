"""A shared store that tells of whom it has blocks: each process says in it whose KV it brings, and reads what others say.

In a store names are digests, each made for one model: who finds nothing under its own cannot tell that another model's are
there. So there is a board: a few blocks under names that every process knows, each with one identity. They lie in the store
as all others do: with a key their names are under it, and their contents sealed; who lists the store sees how many.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from foreword.cache.namespace import ModelFingerprint
from foreword.tiers.base import NAME_BYTES, ROOT, BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.tenant_keys import TenantKeys

PLACES = 8
"""On the board. When they are taken, one that comes takes another one's; whoever still uses the store comes back."""
PLACE_BYTES = 4096
EVERY_SECONDS = 60.0
_DOMAIN = b"foreword identities of a store 1\0"
BOARD = Identity(hashlib.sha256(_DOMAIN).digest(), "")
"""Whose the board is: the identity under which every process opens it."""


class AnnouncedStore:
    """A BlockStore over another one. Its ``usage`` names the other models that use the store, and says its own there.

    The board is looked at when ``usage`` is asked, once a minute at most: never while somebody waits for a block.
    """

    def __init__(
        self,
        inner: BlockStore,
        board: BlockStore,
        identity: Identity,
        tenants: TenantKeys | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """``board``: the same store, opened for BOARD, and sealed if ``inner`` is."""
        self._inner = inner
        self._board = board
        self._places = [BlockKey(_name(number, tenants), ROOT, b"") for number in range(PLACES)]
        self._identity = identity
        self._clock = clock
        self._looked = -EVERY_SECONDS
        self._others: tuple[ModelFingerprint, ...] = ()

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there."""
        return self._inner.exists_many(names)

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read blocks into memory."""
        return self._inner.get_many(keys, into)

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write blocks that are not there yet."""
        return self._inner.put_many(keys, blocks, keep_until)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks for good."""
        return self._inner.delete_many(names)

    def flush(self) -> None:
        """Flush the store beneath."""
        self._inner.flush()

    def usage(self) -> StoreUsage:
        """What the store beneath holds and has done, and who else uses it."""
        if self._clock() - self._looked >= EVERY_SECONDS:
            self._looked = self._clock()
            self._look()
        return replace(self._inner.usage(), others=self._others)

    def close(self) -> None:
        """Close the store beneath, and the board."""
        self._board.close()
        self._inner.close()

    def _look(self) -> None:
        """Read who is on the board, and take a place there if this identity has none."""
        contents = [memoryview(bytearray(PLACE_BYTES)) for _ in self._places]
        outcomes = self._board.get_many(self._places, [[content] for content in contents])
        there = [
            _read(content) if outcome is Outcome.FOUND else None for content, outcome in zip(contents, outcomes, strict=True)
        ]
        models = [identity.model() for identity in there if identity and identity.digest != self._identity.digest]
        self._others = tuple(dict.fromkeys(model for model in models if model is not None))
        content = self._identity.digest + self._identity.text.encode()
        if self._identity in there or len(content) > PLACE_BYTES:
            return
        number = there.index(None) if None in there else self._identity.digest[0] % PLACES
        place = self._places[number]
        self._board.delete_many([place.name])  # what is no identity, or another one's
        self._board.put_many([place], [[memoryview(content.ljust(PLACE_BYTES, b"\0"))]])


def _name(number: int, tenants: TenantKeys | None) -> bytes:
    digest = hashlib.sha256(_DOMAIN + bytes([number])).digest()
    return digest if tenants is None else hmac.digest(tenants.naming_key(None), digest, "sha256")


def _read(content: memoryview) -> Identity | None:
    """None where there is nothing that could be one."""
    try:
        return Identity(bytes(content[:NAME_BYTES]), bytes(content[NAME_BYTES:]).rstrip(b"\0").decode())
    except UnicodeDecodeError:
        return None
