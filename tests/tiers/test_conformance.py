"""What every store keeps to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import LocalStore, ObjectStore
from obstore.store import MemoryStore as ObjectsInMemory

from foreword.testing import FaultyStore, MemoryStore
from foreword.tiers import BlockKey, BlockStore, Outcome
from foreword.tiers.breaker import GuardedStore
from foreword.tiers.folder import SharedFolder
from foreword.tiers.object_store import ObjectBlocks
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from foreword.tiers.sealed import SealedStore
from foreword.tiers.valkey import ValkeyStore
from tiers.made_blocks import BLOCK_BYTES, IDENTITY, TENANTS, found, made_blocks, made_keys, put, read

Opener = Callable[[], BlockStore]
NO_FLOOR = PackOptions(min_free_bytes=0)


def _packs(path: Path) -> Opener:
    return lambda: LocalPacks(path / "packs", IDENTITY, NO_FLOOR)


def _objects(store: ObjectStore) -> Opener:
    return lambda: ObjectBlocks(store, IDENTITY)


def _memory(store: BlockStore) -> Opener:
    return lambda: store


def _sealed(opener: Opener) -> Opener:
    return lambda: SealedStore(opener(), TENANTS, IDENTITY)


STORES: dict[str, Callable[[Path, str], Opener]] = {
    "packs": lambda path, _: _packs(path),
    "folder": lambda path, _: lambda: SharedFolder(path / "shared", IDENTITY),
    "valkey": lambda _, url: lambda: ValkeyStore(url, IDENTITY, answer_seconds=10),
    "objects in memory": lambda _path, _url: _objects(ObjectsInMemory()),
    "objects in a folder": lambda path, _: _objects(LocalStore(path)),
    "memory": lambda _path, _url: _memory(MemoryStore()),
    "sealed packs": lambda path, _: _sealed(_packs(path)),
    "sealed valkey": lambda _, url: _sealed(lambda: ValkeyStore(url, IDENTITY, answer_seconds=10)),
    "guarded packs": lambda path, _: lambda: GuardedStore(_packs(path)(), "The store"),
    "faulty without faults": lambda _path, _url: _memory(FaultyStore(MemoryStore(), lambda _: None)),
}


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one and the same store, as often as it is called."""
    server = request.getfixturevalue("valkey_url") if "valkey" in request.param else ""
    return STORES[request.param](tmp_path, server)


@pytest.fixture
def store(opener: Opener) -> Iterator[BlockStore]:
    """An empty store."""
    opened = opener()
    yield opened
    opened.close()


def test_what_was_put_is_read_back_bit_by_bit(store: BlockStore) -> None:
    keys = made_keys(20)
    assert not any(store.exists_many([key.name for key in keys]))
    assert read(store, keys) == [Outcome.MISSING] * 20
    assert put(store, keys) == 20
    assert all(store.exists_many([key.name for key in keys]))
    assert found(store, keys) == 20


def test_answers_are_in_the_order_of_the_questions(store: BlockStore) -> None:
    keys = made_keys(6)
    put(store, keys[::2])
    shuffled = [keys[at] for at in (5, 4, 0, 3, 2, 1)]
    there = [False, True, True, False, True, False]
    assert store.exists_many([key.name for key in shuffled]) == there
    assert [outcome is Outcome.FOUND for outcome in read(store, shuffled)] == there


def test_nothing_is_asked_and_nothing_answered(store: BlockStore) -> None:
    assert store.exists_many([]) == []
    assert store.get_many([], []) == []
    assert store.put_many([], []) == store.delete_many([]) == 0
    store.flush()


def test_a_block_that_is_there_is_not_written_again(store: BlockStore) -> None:
    keys = made_keys(3)
    put(store, keys)
    before = store.usage().written_bytes
    assert put(store, [*keys, *made_keys(1, first_token=1000)]) == 4
    assert BLOCK_BYTES <= store.usage().written_bytes - before < 2 * BLOCK_BYTES


def test_a_block_given_twice_at_once_is_one(store: BlockStore) -> None:
    key = made_keys(1)[0]
    assert put(store, [key, key]) == 2
    assert found(store, [key, key]) == 2
    assert store.delete_many([key.name]) == 1


def test_it_does_not_look_at_blocks_after_put(store: BlockStore) -> None:
    keys = made_keys(2)
    blocks = made_blocks(keys)
    store.put_many(keys, blocks)
    for pieces in blocks:
        for piece in pieces:
            piece[:] = bytes(len(piece))
    store.flush()
    assert found(store, keys) == 2


def test_what_is_deleted_is_gone_for_good_and_its_neighbours_stay(store: BlockStore, opener: Opener) -> None:
    keys = made_keys(9)
    put(store, keys)
    gone, left = keys[::2], keys[1::2]
    assert store.delete_many([key.name for key in gone]) == 5
    assert store.delete_many([key.name for key in gone]) == 0
    again = opener()
    for each in (store, again):
        assert read(each, gone) == [Outcome.MISSING] * 5
        assert found(each, left) == 4
    again.close()


def test_it_is_there_for_the_next_process(store: BlockStore, opener: Opener) -> None:
    keys = made_keys(5)
    put(store, keys)
    store.close()
    store.close()
    again = opener()
    assert all(again.exists_many([key.name for key in keys]))
    assert found(again, keys) == 5
    again.close()


def test_other_tokens_under_a_name_are_not_given_out(store: BlockStore) -> None:
    key = made_keys(1)[0]
    put(store, [key])
    asked = BlockKey(key.name, key.parent, bytes(len(key.tokens)))
    assert read(store, [asked]) == [Outcome.OTHER]
    assert found(store, [key]) == 1


def test_a_block_of_another_size_is_not_given_out(store: BlockStore) -> None:
    key = made_keys(1)[0]
    put(store, [key])
    for size in (BLOCK_BYTES - 1, BLOCK_BYTES + 1):
        (outcome,) = store.get_many([key], [[memoryview(bytearray(size))]])
        assert outcome in (Outcome.OTHER, Outcome.CORRUPT)
    assert found(store, [key]) == 1


def test_pieces_may_be_cut_otherwise_when_they_are_read(store: BlockStore) -> None:
    key = made_keys(1)[0]
    blocks = made_blocks([key])
    store.put_many([key], blocks)
    store.flush()
    whole = bytearray(BLOCK_BYTES)
    assert store.get_many([key], [[memoryview(whole)[:1], memoryview(whole)[1:]]]) == [Outcome.FOUND]
    assert bytes(whole) == b"".join(blocks[0])


def test_threads_may_read_and_write_at_once(store: BlockStore) -> None:
    prompts = [made_keys(4, first_token=1000 * number) for number in range(12)]

    def work(number: int) -> int:
        put(store, prompts[number])
        return found(store, prompts[number]) + found(store, prompts[number - 1]) // 9

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(12))) == [4] * 12
    assert sum(found(store, keys) for keys in prompts) == 48


def test_usage_counts(store: BlockStore) -> None:
    assert store.usage().refused == 0
    put(store, made_keys(3))
    usage = store.usage()
    assert usage.blocks in (None, 3)
    assert usage.used_bytes is None or usage.used_bytes >= 3 * BLOCK_BYTES
