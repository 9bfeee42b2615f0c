"""How much longer a start takes over a store that holds very many blocks."""

import hashlib
import os
from pathlib import Path
from statistics import median

from tqdm import tqdm

from foreword.tiers.base import ROOT, BlockKey
from foreword.tiers.checksum import checksum
from foreword.tiers.identity import Identity
from foreword.tiers.pack_file import PackWriter
from foreword.tiers.pack_folder import INDEX, PackFolder
from tier_rows.asking import Asked, in_a_process
from tier_rows.row import Row

MEMORY = 2**28
BLOCKS_OF_A_PACK = 256
TIMES = 3
LONGER = 1.0
COUNTS = (10_000, 1_000_000)


def rows(model: str, folder: Path) -> list[Row]:
    """With the index and without it."""
    found = []
    for count in COUNTS:
        store = folder / str(count)
        in_a_process(made_up, model, store, count)
        plain = [in_a_process(ready, model, None) for _ in range(TIMES)]
        for how in ("no index", "an index"):
            if how == "no index":
                for file in store.glob(f"{INDEX}*"):
                    file.unlink()
            times = (
                [in_a_process(ready, model, store)]
                if how == "no index"
                else [in_a_process(ready, model, store) for _ in plain]
            )
            longer = median(times) - median(plain)
            what = f"start over {count:,} blocks and {how}, beside none"
            seconds = f"{longer:+.2f} s ({median(times):.2f} of {median(plain):.2f} s)"
            found.append(Row(what, seconds, f"≤ {LONGER} s later", longer <= LONGER, {"with": times, "without": plain}))
            if how == "no index":
                in_a_process(indexed, model, store)
    return found


def ready(model: str, store: Path | None) -> float:
    """Seconds until an engine can be asked."""
    return Asked(model, MEMORY, store=store).seconds_to_ready


def indexed(model: str, store: Path) -> None:
    """Read all footers, so that the index is whole."""
    asked = Asked(model, MEMORY, store=store)
    asked.close()
    from foreword.tiers.packs import LocalPacks

    packs = LocalPacks(store, Identity.of(asked.parts.info.fingerprint))
    packs.read_all()
    packs.close()


def made_up(model: str, store: Path, count: int) -> None:
    """A folder of packs with so many blocks of a few bytes, of the model's identity; they are not synced one by one."""
    identity = Identity.of(Asked(model, MEMORY).parts.info.fingerprint)
    folder, kv = PackFolder(store), [memoryview(b"12345678")]
    digest, parent = checksum(kv), ROOT
    for first in tqdm(range(0, count, BLOCKS_OF_A_PACK), desc=f"{count:,} blocks", unit="pack"):
        pack = folder.begin()
        writer = PackWriter(pack.descriptor, identity)
        for number in range(first, min(first + BLOCKS_OF_A_PACK, count)):
            name = hashlib.sha256(b"%d" % number).digest()
            writer.append(BlockKey(name, parent, bytes(64)), kv, digest, 0.0)
            parent = name
        writer.finish()
        folder.publish(pack)
    os.sync()
