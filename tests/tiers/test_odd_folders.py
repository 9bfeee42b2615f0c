"""Folders of packs in which something else has a name that means something there."""

import os
from pathlib import Path

from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import IDENTITY, found, made_keys, put

KEYS = made_keys(3)


def test_a_pipe_with_the_name_of_a_pack_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pack")
    store = LocalPacks(tmp_path, IDENTITY)
    assert put(store, KEYS) == found(store, KEYS) == 3
    store.close()
    assert (tmp_path / "pipe.bad").exists()


def test_an_index_that_is_a_folder_is_put_aside(tmp_path: Path) -> None:
    store = LocalPacks(tmp_path, IDENTITY)
    put(store, KEYS)
    store.close()
    for file in tmp_path.glob("index.sqlite3*"):
        file.unlink()
    (tmp_path / "index.sqlite3" / "mine").mkdir(parents=True)
    again = LocalPacks(tmp_path, IDENTITY)
    assert found(again, KEYS) == 3
    again.close()
    assert (tmp_path / "index.sqlite3.bad" / "mine").is_dir()
