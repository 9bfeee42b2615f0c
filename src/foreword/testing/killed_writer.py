"""Writers of packs that are killed at random points, and what is found afterwards.

    python -m foreword.testing.killed_writer FOLDER KILLS SEED

A process of its own without threads, so that it may fork. It prints a KilledWriters record as JSON.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foreword.cache import ModelFingerprint, Namespace
from foreword.tiers import BlockKey, BlockNames, Identity, Outcome
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from foreword.tokens import pack_tokens

MODEL = ModelFingerprint(weights="killed writer")
BLOCK_BYTES, BLOCKS = 3000, 6
LONGEST_LIFE = 0.25
"""Seconds; a writer opens the folder, writes and finishes some tens of packs in that time."""
ROUNDS = 25
"""Kills after which a new folder is begun: in turn one with room for all, and one with room for little."""


@dataclass
class KilledWriters:
    """What was found after writers were killed."""

    kills: int = 0
    blocks_read: int = 0
    wrong_blocks: int = 0
    """FOUND, with bytes that are not theirs."""
    lost_blocks: int = 0
    """Gone although their writer had been told that they would stay, and there was room for them."""
    packs_set_aside: int = 0
    """Packs with a name that were not whole."""
    left_over_files: int = 0
    """Unfinished packs that were still there when the folder had been opened again."""
    unfinished_packs: int = 0
    """Kills that came while a pack was being written."""


def kill_writers(folder: Path, kills: int, seed: int) -> KilledWriters:
    """Start writers one after another, kill each, and read all that it may have written."""
    chance = random.Random(seed)
    told = KilledWriters()
    for number in range(kills):
        if number % ROUNDS == 0:
            shutil.rmtree(folder, ignore_errors=True)
            roomy, promised = number // ROUNDS % 2 == 0, set[int]()
        finished = _write_and_be_killed(folder, number, roomy, chance.uniform(0, LONGEST_LIFE))
        told.kills += 1
        told.unfinished_packs += bool(list(folder.glob("*.writing")))
        promised |= finished
        _look(folder, number, promised if roomy else set(), told)
    return told


def _write_and_be_killed(folder: Path, number: int, roomy: bool, seconds: float) -> set[int]:
    """Prompts of which the writer was told that they are in finished packs."""
    reading, writing = os.pipe()
    writer = os.fork()
    if not writer:
        try:
            _write(folder, number, roomy, writing)
        finally:
            signal.raise_signal(signal.SIGKILL)  # an error must not go on as the parent's
    os.close(writing)
    time.sleep(seconds)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    with os.fdopen(reading) as lines:
        return {int(line) for line in lines if line.endswith("\n")}


def _write(folder: Path, number: int, roomy: bool, told: int) -> None:
    store = LocalPacks(folder, Identity.of(MODEL), _options(roomy))
    for prompt in range(number * 1000, number * 1000 + 1000):
        keys = _keys(prompt)
        store.put_many(keys, [[memoryview(_kv(key))] for key in keys])
        store.flush()
        os.write(told, f"{prompt}\n".encode())


def _look(folder: Path, number: int, promised: set[int], told: KilledWriters) -> None:
    store = LocalPacks(folder, Identity.of(MODEL), _options(True))
    store.read_all()
    told.left_over_files += len(list(folder.glob("*.writing")))
    told.packs_set_aside += store.usage().set_aside
    first = number - number % ROUNDS
    for prompt in {*promised, *(each * 1000 + at for each in range(first, number + 1) for at in range(3))}:
        keys = _keys(prompt)
        into = [memoryview(bytearray(BLOCK_BYTES)) for _ in keys]
        for key, piece, outcome in zip(keys, into, store.get_many(keys, [[piece] for piece in into]), strict=True):
            told.blocks_read += outcome is Outcome.FOUND
            told.wrong_blocks += outcome is Outcome.FOUND and bytes(piece) != bytes(_kv(key))
            told.lost_blocks += outcome is not Outcome.FOUND and prompt in promised
    store.close()


def _options(roomy: bool) -> PackOptions:
    return PackOptions(max_bytes=2**30 if roomy else 40 * BLOCK_BYTES, pack_bytes=4 * BLOCK_BYTES, min_free_bytes=0)


def _keys(prompt: int) -> Sequence[BlockKey]:
    return BlockNames(Namespace(MODEL).key, 16).keys(pack_tokens(range(prompt * 100, prompt * 100 + 16 * BLOCKS)))


def _kv(key: BlockKey) -> bytearray:
    return bytearray(random.Random(key.name).randbytes(BLOCK_BYTES))


if __name__ == "__main__":
    print(json.dumps(asdict(kill_writers(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
