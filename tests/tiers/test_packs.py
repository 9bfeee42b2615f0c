"""Local packs: what may happen to a folder, and what becomes of its blocks then."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from foreword.errors import ConfigError, StoreFailed
from foreword.tiers import BlockKey, Identity, Outcome
from foreword.tiers.pack_file import EMPTY_BYTES, HEADER_BYTES
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import BLOCK_BYTES, IDENTITY, OTHER_MODEL, found, made_blocks, made_keys, put, read

KEYS = made_keys(8)
PACK_OF_FOUR = PackOptions(pack_bytes=EMPTY_BYTES + 4 * BLOCK_BYTES, min_free_bytes=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "packs"


@pytest.fixture
def open_packs(folder: Path) -> Iterator[Callable[..., LocalPacks]]:
    """Opens the folder; what was opened is closed."""
    opened = []

    def opener(
        options: PackOptions = PACK_OF_FOUR, identity: Identity = IDENTITY, **given: Callable[[], float]
    ) -> LocalPacks:
        opened.append(LocalPacks(folder, identity, options, **given))
        return opened[-1]

    yield opener
    for each in opened:
        with suppress(StoreFailed):
            each.close()


Open = Callable[..., LocalPacks]


def packs(folder: Path, suffix: str = ".pack") -> list[Path]:
    return sorted(folder.glob(f"*{suffix}"), key=lambda file: file.stat().st_mtime_ns)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)


def index_gone(folder: Path) -> None:
    for file in folder.glob("index.sqlite3*"):
        file.unlink()


def test_a_pack_is_finished_when_it_is_full_or_old(open_packs: Open, folder: Path) -> None:
    store, other = open_packs(), open_packs()
    store.put_many(KEYS[:6], made_blocks(KEYS[:6]))
    names = [key.name for key in KEYS[:6]]
    assert other.exists_many(names) == [True] * 4 + [False] * 2, "an unfinished pack is none for others"
    assert found(other, KEYS[:6]) == 4
    assert store.exists_many(names) == [True] * 6
    assert found(store, KEYS[:6]) == 6
    assert len(packs(folder)) == len(packs(folder, ".writing")) == 1
    store.flush()
    assert found(store, KEYS[:6]) == 6
    assert packs(folder, ".writing") == []
    eager = open_packs(PackOptions(finish_seconds=0, min_free_bytes=0))
    eager.put_many(KEYS[6:], made_blocks(KEYS[6:]))
    assert found(eager, KEYS) == 8


def test_a_damaged_block_of_a_pack_that_is_being_written_is_told(open_packs: Open, folder: Path) -> None:
    store = open_packs()
    store.put_many(KEYS[:3], made_blocks(KEYS[:3]))
    (file,) = packs(folder, ".writing")
    with file.open("r+b") as writing:
        writing.seek(HEADER_BYTES + BLOCK_BYTES)
        byte = writing.read(1)
        writing.seek(-1, 1)
        writing.write(bytes([byte[0] ^ 1]))
    assert read(store, KEYS[:3]) == [Outcome.FOUND, Outcome.CORRUPT, Outcome.FOUND]
    assert packs(folder, ".bad") == []
    store.flush()
    assert found(store, KEYS[:3]) == 2


def test_what_was_written_is_found_while_packs_are_finished(open_packs: Open) -> None:
    store, written = open_packs(PackOptions(finish_seconds=0, min_free_bytes=0)), 0
    missed = []

    def look() -> None:
        while written < len(KEYS):
            there = written
            if found(store, KEYS[:there]) < there or not all(store.exists_many([key.name for key in KEYS[:there]])):
                missed.append(there)

    looking = threading.Thread(target=look)
    looking.start()
    for key in KEYS:
        store.put_many([key], made_blocks([key]))
        written += 1
        time.sleep(0.02)
    looking.join()
    assert missed == []


@pytest.mark.parametrize("offset", [HEADER_BYTES, HEADER_BYTES + BLOCK_BYTES - 1])
def test_a_flipped_byte_of_a_block_is_told_and_the_block_written_anew(open_packs: Open, folder: Path, offset: int) -> None:
    store = open_packs()
    put(store, KEYS)
    flip(packs(folder)[0], offset)
    assert read(store, KEYS) == [Outcome.CORRUPT] + [Outcome.FOUND] * 7
    assert store.exists_many([KEYS[0].name]) == [False]
    assert put(store, KEYS[:1]) == 1
    assert found(store, KEYS) == 8
    index_gone(folder)
    again = open_packs()
    again.read_all()
    assert found(again, KEYS) == 8, "the later pack counts, in a new index too"


def damage(folder: Path, how: str) -> None:
    """Harm the first pack."""
    pack = packs(folder)[0]
    size = pack.stat().st_size
    if how == "cut":
        os.truncate(pack, size - 1)
    elif how == "cut to nothing":
        os.truncate(pack, 0)
    elif how == "foreign":
        pack.write_bytes(os.urandom(size))
    else:
        flip(pack, {"footer": size - 100, "trailer": size - 20, "header": 9, "magic": 0}[how])


@pytest.mark.parametrize("how", ["cut", "cut to nothing", "foreign", "footer", "trailer", "magic"])
def test_a_pack_that_cannot_be_read_is_set_aside(open_packs: Open, folder: Path, how: str) -> None:
    put(open_packs(), KEYS)
    damage(folder, how)
    index_gone(folder)
    store = open_packs()
    store.read_all()
    assert read(store, KEYS) == [Outcome.MISSING] * 4 + [Outcome.FOUND] * 4
    assert (len(packs(folder)), len(packs(folder, ".bad")), store.usage().set_aside) == (1, 1, 1)
    put(store, KEYS)
    assert found(store, KEYS) == 8


def test_a_pack_of_a_later_version_is_left_alone(open_packs: Open, folder: Path) -> None:
    put(open_packs(), KEYS)
    damage(folder, "header")
    index_gone(folder)
    store = open_packs()
    store.read_all()
    assert found(store, KEYS) == 4
    assert (len(packs(folder)), store.usage().set_aside) == (2, 0)


@pytest.mark.parametrize("how", ["cut", "cut to nothing", "foreign", "removed"])
def test_a_pack_harmed_while_it_is_in_the_index(open_packs: Open, folder: Path, how: str) -> None:
    store = open_packs()
    put(store, KEYS)
    if how == "removed":
        packs(folder)[0].unlink()
    else:
        damage(folder, how)
    outcomes = read(store, KEYS)
    assert outcomes[4:] == [Outcome.FOUND] * 4
    assert set(outcomes[:4]) <= {Outcome.MISSING, Outcome.CORRUPT, Outcome.FOUND}, outcomes
    put(store, KEYS)
    assert found(store, KEYS) == 8


@pytest.mark.parametrize("change", ["offset = offset + 1", "checksum = zeroblob(16)", "tokens = zeroblob(64)", "length = 7"])
def test_an_index_that_is_wrong_is_made_anew_from_the_packs(open_packs: Open, folder: Path, change: str) -> None:
    store = open_packs()
    put(store, KEYS)
    database = sqlite3.connect(folder / "index.sqlite3")
    database.execute(f"update blocks set {change}")
    database.commit()
    database.close()
    assert found(store, KEYS) == 8


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000, None], ids=["empty", "nonsense", "removed"])
def test_an_index_that_is_damaged_or_gone_is_made_anew(open_packs: Open, folder: Path, content: bytes | None) -> None:
    store = open_packs()
    put(store, KEYS)
    store.close()
    index_gone(folder)
    if content is not None:
        (folder / "index.sqlite3").write_bytes(content)
    again = open_packs()
    again.read_all()
    assert found(again, KEYS) == 8


def test_an_index_that_is_removed_while_it_is_used(open_packs: Open, folder: Path) -> None:
    store = open_packs()
    put(store, KEYS[:4])
    index_gone(folder)
    for _ in range(2):  # the first may fail, and says so
        try:
            put(store, KEYS)
        except StoreFailed as error:
            assert "index" in str(error)
    assert found(store, KEYS) == 8
    again = open_packs()
    again.read_all()
    assert found(again, KEYS) == 8


def test_a_folder_that_is_removed_is_made_anew(open_packs: Open, folder: Path) -> None:
    clock = iter(range(0, 1000, 10))
    store = open_packs(clock=lambda: float(next(clock)))
    put(store, KEYS[:4])
    store.put_many(KEYS[4:6], made_blocks(KEYS[4:6]))
    written = store.usage().written_bytes
    shutil.rmtree(folder)
    assert read(store, KEYS) == [Outcome.MISSING] * 8
    assert store.usage().written_bytes == written, "what was written has been, wherever it is now"
    assert put(store, KEYS) == 8
    assert found(store, KEYS) == 8
    assert len(packs(folder)) == 2
    assert store.usage().written_bytes > written


def test_what_another_process_finishes_is_found_and_what_it_removes_is_not(open_packs: Open) -> None:
    clock = iter(range(0, 1000, 10))
    ours, theirs = (open_packs(clock=lambda: float(next(clock))) for _ in range(2))
    put(theirs, KEYS)
    assert found(ours, KEYS) == 8
    theirs.delete_many([key.name for key in KEYS])
    assert read(ours, KEYS) == [Outcome.MISSING] * 8


def test_a_living_writers_pack_is_not_taken_for_a_left_over(open_packs: Open, folder: Path) -> None:
    first = open_packs()
    first.put_many(KEYS[:2], made_blocks(KEYS[:2]))
    second = open_packs()
    second.put_many(KEYS[2:4], made_blocks(KEYS[2:4]))
    assert len(packs(folder, ".writing")) == 2
    first.flush()
    second.flush()
    assert found(open_packs(), KEYS[:4]) == 4


def test_what_a_dead_writer_left_is_removed(open_packs: Open, folder: Path) -> None:
    folder.mkdir()
    (folder / "0123456789abcdef.writing").write_bytes(b"half a pack")
    open_packs()
    assert packs(folder, ".writing") == []


def test_kv_of_another_identity_are_not_given_out(open_packs: Open) -> None:
    other = Identity.of(OTHER_MODEL)
    put(open_packs(identity=other), KEYS)
    store = open_packs()
    store.read_all()
    assert read(store, KEYS) == [Outcome.OTHER] * 8


def test_room_is_made_by_what_was_used_least_recently(open_packs: Open, folder: Path) -> None:
    size = 4 * (HEADER_BYTES + 4 * BLOCK_BYTES + 4096)
    store = open_packs(PackOptions(max_bytes=size, pack_bytes=4 * BLOCK_BYTES, min_free_bytes=0))
    prompts = [made_keys(4, first_token=1000 * number) for number in range(6)]
    for keys in prompts[:3]:
        put(store, keys)
    assert found(store, prompts[0]) == 4
    for keys in prompts[3:]:
        put(store, keys)
        found(store, prompts[0])
        assert sum(file.stat().st_size for file in packs(folder)) <= size
    there = [found(store, keys) for keys in prompts]
    assert there[0] == there[5] == 4, "what is used stays, and the newest"
    assert there[1] == 0, "what was used least recently went first"
    usage = store.usage()
    assert usage.used_bytes == sum(file.stat().st_size for file in packs(folder))
    assert usage.copied_bytes <= 0.1 * usage.written_bytes


def test_what_is_given_again_counts_as_used(open_packs: Open) -> None:
    options = PackOptions(
        max_bytes=4 * (HEADER_BYTES + 4 * BLOCK_BYTES + 4096), pack_bytes=4 * BLOCK_BYTES, min_free_bytes=0
    )
    store = open_packs(options)
    prompts = [made_keys(4, first_token=1000 * number) for number in range(8)]
    for keys in prompts[1:]:
        put(store, keys)
        put(store, prompts[0])
    assert found(store, prompts[0]) == 4
    assert found(store, prompts[1]) == 0


def test_hot_blocks_of_a_pack_that_goes_are_copied_forward(open_packs: Open) -> None:
    many = made_keys(300)
    options = PackOptions(max_bytes=100 * BLOCK_BYTES, pack_bytes=8 * BLOCK_BYTES, min_free_bytes=0)
    store = open_packs(options)
    for at in range(0, 300, 4):
        put(store, many[at : at + 4])
        assert at == 0 or found(store, many[:1]) <= 1
    usage = store.usage()
    assert found(store, many[:1]) == 1, "it was used all the time, its neighbours never"
    assert found(store, many[1:4]) == 0
    assert 0 < usage.copied_bytes <= 0.1 * usage.written_bytes


def test_what_is_kept_goes_last_whatever_the_clock_does(open_packs: Open) -> None:
    now = [1000.0]
    options = PackOptions(
        max_bytes=4 * (HEADER_BYTES + 4 * BLOCK_BYTES + 4096), pack_bytes=4 * BLOCK_BYTES, min_free_bytes=0
    )
    store = open_packs(options, now=lambda: now[0])
    prompts = [made_keys(4, first_token=1000 * number) for number in range(8)]
    store.put_many(prompts[0], made_blocks(prompts[0]), keep_until=2000.0)
    for keys in prompts[1:4]:
        put(store, keys)
        now[0] -= 300.0  # the clock is set back
    assert found(store, prompts[0]) == 4
    now[0] = 2001.0
    for keys in prompts[4:]:
        put(store, keys)
    assert found(store, prompts[0]) == 0, "its time is over, and it was used least recently"
    assert found(store, prompts[7]) == 4


def test_what_is_kept_longer_afterwards_is_kept_when_the_index_is_lost(open_packs: Open, folder: Path) -> None:
    options = PackOptions(
        max_bytes=4 * (HEADER_BYTES + 4 * BLOCK_BYTES + 4096), pack_bytes=4 * BLOCK_BYTES, min_free_bytes=0
    )
    store = open_packs(options, now=lambda: 1000.0)
    prompts = [made_keys(4, first_token=1000 * number) for number in range(8)]
    put(store, prompts[0])
    assert store.put_many(prompts[0], made_blocks(prompts[0]), keep_until=2000.0) == 4
    assert store.put_many(prompts[0], made_blocks(prompts[0]), keep_until=1500.0) == 4, "no less than before"
    store.close()
    index_gone(folder)
    now = [1999.0]
    store = open_packs(options, now=lambda: now[0])
    store.read_all()
    for keys in prompts[1:7]:
        put(store, keys)
    assert found(store, prompts[0]) == 4
    now[0] = 2001.0
    for keys in prompts[1:7]:
        put(store, keys)
    assert found(store, prompts[0]) == 0
    assert not packs(folder, ".kept"), "the note goes with its pack"


def test_a_days_budget_is_kept_by_all_who_write(open_packs: Open) -> None:
    now = [0.0]
    options = PackOptions(daily_bytes=7 * BLOCK_BYTES, min_free_bytes=0)
    first, second = (open_packs(options, now=lambda: now[0]) for _ in range(2))
    assert put(first, KEYS[:4]) == 4
    assert put(second, KEYS[4:]) == 2
    assert second.usage().refused == 2
    assert 6 * BLOCK_BYTES < (second.usage().written_today or 0) <= 7 * BLOCK_BYTES
    now[0] = 86400.0
    assert put(second, KEYS[4:]) == 4


def test_a_write_that_the_system_refuses_loses_its_pack_and_no_other(open_packs: Open, folder: Path) -> None:
    """A limit of the process stands for a full disk: a write comes back short, the next one fails."""
    store = open_packs(PackOptions(min_free_bytes=0))
    put(store, KEYS[:1])
    many = made_keys(2**20 // BLOCK_BYTES + 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(StoreFailed, match="File too large"):
            store.put_many(many, made_blocks(many))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert packs(folder, ".writing") == []
    assert found(store, KEYS) == 1
    put(store, KEYS)
    assert found(store, KEYS) == 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("it takes the right to mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_others_fill_fails_writes_and_no_reads(small_disk: Path) -> None:
    """The index takes some MiB of log, so packs are more than that."""
    store = LocalPacks(small_disk / "packs", IDENTITY, PackOptions(min_free_bytes=0))
    prompts = [made_keys(64, first_token=10_000 * number) for number in range(70)]
    for keys in prompts[:60]:
        assert put(store, keys) == 64
    others = small_disk / "of others"
    with suppress(OSError), others.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for keys in prompts[60:]:
        with suppress(StoreFailed):
            put(store, keys)
        assert set(read(store, keys)) <= {Outcome.FOUND, Outcome.MISSING}
    assert sum(found(store, keys) for keys in prompts) >= 64 * 20, "what was there is still read, but for what had to go"
    others.unlink()
    for keys in prompts[60:]:
        assert put(store, keys) == found(store, keys) == 64
    store.close()


def test_a_folder_that_may_not_be_used_is_an_error_in_words(folder: Path) -> None:
    folder.write_text("no folder")
    with pytest.raises(StoreFailed, match=str(folder)):
        LocalPacks(folder, IDENTITY)


WITHOUT_RIGHTS = """
import os, sys
from contextlib import suppress
from pathlib import Path
from foreword.errors import StoreFailed
from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import *
folder = Path(sys.argv[1])
folder.mkdir(mode=0o777)
os.chmod(folder, 0o777)
if os.geteuid() == 0:
    os.setuid(65534)
keys = made_keys(4)
store = LocalPacks(folder / "packs", IDENTITY)
put(store, keys)
os.chmod(folder / "packs", 0)
for ask in (lambda: put(store, made_keys(4, 999)), lambda: LocalPacks(folder / "packs", IDENTITY)):
    try:
        ask()
        sys.exit("no error")
    except StoreFailed as error:
        print(error)
os.chmod(folder / "packs", 0o700)
assert found(store, keys) == 4
assert put(store, made_keys(4, 999)) == found(store, made_keys(4, 999)) == 4
"""


def test_rights_that_are_taken_and_given_back(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):  # another user's process is to come this far
            parent.chmod(0o755)
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(tmp_path / "theirs")]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Permission denied") >= 1, done.stdout


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"pack_bytes": 0}, {"min_free_bytes": -1}, {"daily_bytes": -1}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PackOptions(**wrong)


def test_blocks_of_many_small_or_very_many_pieces(open_packs: Open) -> None:
    store = open_packs(PackOptions(min_free_bytes=0))
    for number, (size, count) in enumerate([(8, 3000), (2048, 1500), (1, 1), (0, 2), (4096, 1024)]):
        key = BlockKey(bytes([number]) * 32, bytes(32), b"")
        data = bytearray(os.urandom(size * count))
        pieces = [memoryview(data)[at * size : (at + 1) * size] for at in range(count)]
        back = bytearray(size * count)
        into = [memoryview(back)[at * size : (at + 1) * size] for at in range(count)]
        assert store.put_many([key], [pieces]) == 1
        store.flush()
        assert store.get_many([key], [into]) == [Outcome.FOUND]
        assert back == data
