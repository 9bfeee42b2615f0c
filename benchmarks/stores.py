"""What do the stores below the cache cost, beside what the disk and memory allow?

python benchmarks/stores.py [--folder FOLDER] [--blocks 256]

A block is 1 MiB in 256 pieces of 4 KiB that lie apart, as in the pool of a model of 0.22 B parameters. Plain reads and those
of the store are taken in turn, and the ratio is that of their medians.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from foreword.cache import ModelFingerprint
from foreword.tiers import ROOT, BlockKey, Identity, Outcome, Pieces
from foreword.tiers.pack_file import HEADER_BYTES
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks

MIB, PIECE = 2**20, 4096
PIECES = MIB // PIECE
TIMES = 9
IDENTITY = Identity.of(ModelFingerprint(weights="benchmark"))
OPTIONS = PackOptions(min_free_bytes=0, max_bytes=2**40)


def keys_of(count: int) -> list[BlockKey]:
    """Blocks that follow each other."""
    names = [hashlib.sha256(b"%d" % number).digest() for number in range(count)]
    return [BlockKey(name, parent, bytes(64)) for name, parent in zip(names, [ROOT, *names], strict=False)]


def pool(count: int, fill: int) -> list[Pieces]:
    """Memory of so many blocks; pieces of one block lie ``count`` pieces apart."""
    view = memoryview(np.full(count * MIB, fill, np.uint8).data)
    return [[view[(piece * count + block) * PIECE :][:PIECE] for piece in range(PIECES)] for block in range(count)]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def read_plainly(files: Sequence[tuple[int, int]], blocks: Sequence[Pieces]) -> None:
    """The same bytes into the same pieces: a call a block."""
    into = iter(blocks)
    for file, count in files:
        for number in range(count):
            os.preadv(file, next(into), HEADER_BYTES + number * MIB)


def transfers(folder: Path, count: int) -> None:
    """Writing, and reading from the page cache and from the disk."""
    store, keys = LocalPacks(folder, IDENTITY, OPTIONS), keys_of(count)
    source, target = pool(count, 7), pool(count, 0)

    def write() -> None:
        for at in range(0, count, 8):
            store.put_many(keys[at : at + 8], source[at : at + 8])
        store.flush()

    print(f"written and synced: {count / seconds(write):,.0f} MiB/s")
    packs = sorted(folder.glob("*.pack"), key=lambda file: file.stat().st_mtime_ns)
    files = [(os.open(file, os.O_RDONLY), file.stat().st_size // MIB) for file in packs]

    def read() -> None:
        assert set(store.get_many(keys, target)) == {Outcome.FOUND}

    for name, forget in (("page cache", False), ("disk", True)):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(TIMES):
            for which, work in enumerate((lambda: read_plainly(files, target), read)):
                for file, _ in files if forget else ():
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                times[which].append(seconds(work))
        plain, ours = (count / median(each) for each in times)
        print(f"read from the {name}: preadv {plain:,.0f} MiB/s, store {ours:,.0f} MiB/s, ratio {ours / plain:.2f}")
    names = [key.name for key in keys_of(512)]
    asked = median(seconds(lambda: store.exists_many(names)) for _ in range(50))
    print(f"exists_many of 512 names: {asked * 1000:.2f} ms")
    usage = store.usage()
    print(f"write amplification: {(usage.used_bytes or 0) / (count * MIB):.3f}")
    store.close()


def rebuilding(folder: Path, count: int = 10_000) -> None:
    """An index lost: blocks of a few bytes, 64 in a pack."""
    store = LocalPacks(folder, IDENTITY, OPTIONS)
    keys = keys_of(count)
    kv = [memoryview(b"12345678")]
    for at in range(0, count, 64):
        store.put_many(keys[at : at + 64], [kv] * len(keys[at : at + 64]))
        store.flush()
    store.close()
    kept = seconds(lambda: LocalPacks(folder, IDENTITY, OPTIONS).exists_many([keys[0].name]))
    for file in folder.glob("index.sqlite3*"):
        file.unlink()
    opened: list[LocalPacks] = []
    lost = seconds(lambda: opened.append(LocalPacks(folder, IDENTITY, OPTIONS)))
    read = seconds(opened[0].read_all)
    assert all(opened[0].exists_many([key.name for key in keys]))
    print(f"{count:,} blocks: opened in {kept * 1000:.0f} ms")
    print(f"{count:,} blocks without an index: opened in {lost * 1000:.0f} ms, found {read:.2f} s later")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    parser.add_argument("--blocks", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as directory:
        transfers(Path(directory) / "transfers", given.blocks)
        rebuilding(Path(directory) / "rebuilding")
