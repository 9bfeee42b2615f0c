"""Who shares a store: what a process says of itself there, and reads of others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from foreword.cache import ModelFingerprint
from foreword.testing import MemoryStore
from foreword.tiers import Identity, TenantKeys
from foreword.tiers.announcing import EVERY_SECONDS, PLACES, AnnouncedStore
from foreword.tiers.breaker import GuardedStore
from foreword.tiers.opening import open_shared
from tiers.conftest import client_of
from tiers.made_blocks import MODEL, OTHER_MODEL, TENANTS, found, made_keys, put

THIRD = ModelFingerprint(weights="another one")
Opener = Callable[[ModelFingerprint, TenantKeys | None], GuardedStore]


@pytest.fixture(params=["folder", "valkey"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one shared store for a model, with a key or without."""
    url = f"file://{tmp_path}/shared" if request.param == "folder" else request.getfixturevalue("valkey_url")
    return lambda model, tenants: open_shared(url, Identity.of(model), tenants)


def others(opened: Opener, model: ModelFingerprint, tenants: TenantKeys | None) -> set[ModelFingerprint]:
    """Who else uses the store, as an engine of a model is told that begins now."""
    store = opened(model, tenants)
    told = set(store.usage().others)
    store.close()
    return told


@pytest.mark.parametrize("tenants", [None, TENANTS], ids=["plain", "sealed"])
def test_who_begins_is_told_who_else_uses_the_store(opened: Opener, tenants: TenantKeys | None) -> None:
    assert others(opened, MODEL, tenants) == set()
    assert others(opened, OTHER_MODEL, tenants) == {MODEL}
    assert others(opened, THIRD, tenants) == {MODEL, OTHER_MODEL}
    assert others(opened, MODEL, tenants) == {OTHER_MODEL, THIRD}


def test_with_another_key_nobody_is_seen_and_nobodys_place_is_taken(opened: Opener) -> None:
    keys = [None, TENANTS, TenantKeys(bytes(32))]
    for tenants in keys:
        assert others(opened, MODEL, tenants) == set()
    for tenants in keys:
        assert others(opened, OTHER_MODEL, tenants) == {MODEL}


def test_a_store_with_a_key_does_not_show_who_uses_it(tmp_path: Path, valkey_url: str) -> None:
    for url in (f"file://{tmp_path}/shared", valkey_url):
        open_shared(url, Identity.of(MODEL), TENANTS).usage()
    client = client_of(valkey_url)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    shown = [file.read_bytes() + file.name.encode() for file in files]
    shown += [name + b"".join(client.hvals(name)) for name in client.scan_iter()]
    client.close()
    plain = tmp_path / "plain"
    open_shared(f"file://{plain}", Identity.of(MODEL), None).usage()
    (open_place,) = (file for file in plain.rglob("*") if file.is_file())
    assert b"weights" in open_place.read_bytes()
    assert len(shown) == 2
    for content in shown:
        assert b"weights" not in content
        assert Identity.of(MODEL).digest not in content
        assert open_place.stem.encode() not in content, "names are under the key, too"


class Board:
    """Stores of several models over one memory, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.memory = MemoryStore()

    def opened(self, model: ModelFingerprint) -> AnnouncedStore:
        return AnnouncedStore(MemoryStore(), self.memory, Identity.of(model), None, lambda: self.now)


@pytest.fixture
def board() -> Board:
    return Board()


def test_who_was_there_before_hears_of_others_a_minute_later(board: Board) -> None:
    first = board.opened(MODEL)
    assert first.usage().others == ()
    board.opened(OTHER_MODEL).usage()
    assert first.usage().others == ()
    board.now += EVERY_SECONDS
    assert first.usage().others == (OTHER_MODEL,)


def test_what_was_evicted_is_said_again(board: Board) -> None:
    first = board.opened(MODEL)
    first.usage()
    board.memory.blocks.clear()
    board.now += EVERY_SECONDS
    first.usage()
    assert board.opened(OTHER_MODEL).usage().others == (MODEL,)


def test_many_identities_take_a_bounded_room_and_the_newest_is_seen(board: Board) -> None:
    models = [ModelFingerprint(weights=f"model {number}") for number in range(3 * PLACES)]
    for model in models:
        board.opened(model).usage()
        assert model in board.opened(MODEL).usage().others
    assert len(board.memory.blocks) == PLACES


@pytest.mark.parametrize("harmed", [b"\xff", b"\0", b"x"])
def test_what_is_no_identity_is_passed_over(board: Board, harmed: bytes) -> None:
    board.opened(MODEL).usage()
    ((name, (key, content)),) = board.memory.blocks.items()
    board.memory.blocks[name] = (key, harmed * len(content))
    assert board.opened(OTHER_MODEL).usage().others == ()
    assert board.opened(MODEL).usage().others == (OTHER_MODEL,)


def test_blocks_go_to_the_store_beneath(board: Board) -> None:
    store = board.opened(MODEL)
    store.usage()
    keys = made_keys(3)
    assert put(store, keys) == found(store, keys) == 3
    assert store.delete_many([keys[0].name]) == 1
    assert store.exists_many([key.name for key in keys]) == [False, True, True]
    store.close()
