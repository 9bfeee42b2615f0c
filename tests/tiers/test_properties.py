"""Random loads on a folder that two engines share: whatever is done to it, no block is ever another one's."""

import random
from pathlib import Path

import pytest

from foreword.errors import StoreFailed
from foreword.tiers import Outcome
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import BLOCK_BYTES, IDENTITY, made_blocks, made_keys, read

PROMPTS = [made_keys(5, first_token=100 * number) for number in range(12)]
ROOMY = PackOptions(pack_bytes=6 * BLOCK_BYTES, min_free_bytes=0)
TIGHT = PackOptions(max_bytes=60 * BLOCK_BYTES, pack_bytes=6 * BLOCK_BYTES, min_free_bytes=0)


class Load:
    """What two engines do, and what must be there: prompts that were flushed and not deleted, while nothing was harmed."""

    def __init__(self, folder: Path, options: PackOptions, seed: int):
        self.folder, self.options = folder, options
        self.chance = random.Random(seed)
        self.ticks = 0.0
        self.stores = [self.opened(), self.opened()]
        self.there: set[int] = set()
        self.harmed = options is TIGHT

    def opened(self) -> LocalPacks:
        store = LocalPacks(self.folder, IDENTITY, self.options, clock=self.clock)
        store.read_all()
        return store

    def clock(self) -> float:
        self.ticks += 1
        return self.ticks

    def step(self, harm: bool) -> None:
        engine, prompt = self.chance.randrange(2), self.chance.randrange(len(PROMPTS))
        keys, store = PROMPTS[prompt][: self.chance.randint(1, 5)], self.stores[engine]
        doing = self.chance.choice(["put"] * 4 + ["get"] * 6 + ["delete", "reopen"] + ["flip", "cut", "no index"] * harm)
        if doing == "put":
            assert store.put_many(keys, made_blocks(keys)) <= len(keys)
            store.flush()
            if len(keys) == 5:
                self.there.add(prompt)
        elif doing == "get":
            outcomes = read(store, keys)
            assert self.harmed or prompt not in self.there or set(outcomes) == {Outcome.FOUND}
        elif doing == "delete":
            store.delete_many([key.name for key in keys])
            self.there.discard(prompt)
        elif doing == "reopen":
            store.close()
            self.stores[engine] = self.opened()
        else:
            self.harm(doing)

    def harm(self, how: str) -> None:
        self.harmed = True
        files = sorted(self.folder.glob("index.sqlite3*" if how == "no index" else "*.pack"))
        for file in files if how == "no index" else self.chance.sample(files, min(1, len(files))):
            data = bytearray(file.read_bytes())
            if how == "flip":
                data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
            if how == "no index":
                file.unlink()
            else:
                file.write_bytes(data if how == "flip" else data[: self.chance.randrange(len(data))])


@pytest.mark.parametrize("options", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("harm", [False, True], ids=["whole", "harmed"])
@pytest.mark.parametrize("seed", range(3))
def test_no_block_is_another_ones(tmp_path: Path, options: PackOptions, harm: bool, seed: int) -> None:
    load = Load(tmp_path / "packs", options, seed)
    for _ in range(80):
        try:
            load.step(harm)
        except StoreFailed:
            assert harm, "only an index that was removed while it was used fails, once"
    for store in load.stores:
        usage = store.usage()
        assert usage.used_bytes is not None
        assert usage.used_bytes <= options.max_bytes
        store.close()
