"""Sealed stores: what whoever lists or reads the store beneath can tell, and what becomes of what was changed."""

import pytest

from foreword.testing import MemoryStore
from foreword.tiers import BlockKey, Identity, Outcome, TenantKeys
from foreword.tiers.sealed import SealedStore
from tiers.made_blocks import IDENTITY, OTHER_MODEL, TENANTS, found, made_blocks, made_bytes, made_keys, put, read

KEYS = made_keys(3)


@pytest.fixture
def beneath() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(beneath: MemoryStore) -> SealedStore:
    sealed = SealedStore(beneath, TENANTS, IDENTITY)
    put(sealed, KEYS)
    return sealed


def test_neither_tokens_nor_kv_lie_in_the_store_beneath(store: SealedStore, beneath: MemoryStore) -> None:
    assert found(store, KEYS) == 3
    for key in KEYS:
        stored, kv = beneath.blocks[key.name]
        assert stored.tokens == b""
        assert stored.owner is None
        assert key.tokens[:8] not in kv
        assert made_bytes(key)[:8] not in kv


def test_the_same_block_is_never_sealed_into_the_same_bytes(store: SealedStore, beneath: MemoryStore) -> None:
    before = beneath.blocks[KEYS[0].name]
    store.delete_many([KEYS[0].name])
    put(store, KEYS[:1])
    assert beneath.blocks[KEYS[0].name] != before


@pytest.mark.parametrize("at", [0, 12, 28, 100, -1], ids=["nonce", "tag", "tokens", "KV", "end"])
def test_a_changed_byte_is_told(store: SealedStore, beneath: MemoryStore, at: int) -> None:
    key, kv = beneath.blocks[KEYS[0].name]
    changed = bytearray(kv)
    changed[at] ^= 1
    beneath.blocks[KEYS[0].name] = (key, bytes(changed))
    assert read(store, KEYS) == [Outcome.CORRUPT, Outcome.FOUND, Outcome.FOUND]


def test_a_block_under_anothers_name_is_told(store: SealedStore, beneath: MemoryStore) -> None:
    beneath.blocks[KEYS[0].name] = beneath.blocks[KEYS[1].name]
    assert read(store, KEYS)[0] is Outcome.CORRUPT


@pytest.mark.parametrize(
    ("tenants", "identity"),
    [(TenantKeys(bytes(32)), IDENTITY), (TENANTS, Identity.of(OTHER_MODEL))],
    ids=["another key", "another identity"],
)
def test_a_wrong_key_opens_nothing(
    beneath: MemoryStore, store: SealedStore, tenants: TenantKeys, identity: Identity
) -> None:
    assert read(SealedStore(beneath, tenants, identity), KEYS) == [Outcome.CORRUPT] * 3
    assert found(store, KEYS) == 3


def test_a_tenants_block_is_not_opened_by_another_ones_key(beneath: MemoryStore) -> None:
    store = SealedStore(beneath, TENANTS, IDENTITY)
    ours, theirs, everyones = (BlockKey(b"n" * 32, bytes(32), bytes(64), owner) for owner in ("ours", "theirs", None))
    store.put_many([ours], made_blocks([ours]))
    assert read(store, [ours, theirs, everyones]) == [Outcome.FOUND, Outcome.CORRUPT, Outcome.CORRUPT]
