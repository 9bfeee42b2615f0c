"""The index of a folder of packs by itself: what is damaged is told when it is opened, or made anew."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from foreword.tiers.pack_file import PackContents
from foreword.tiers.pack_index import PackIndex, ReadPack
from tiers.made_blocks import IDENTITY


@pytest.mark.parametrize("table", ["packs", "sqlite_autoindex_packs_1"])
def test_an_index_is_made_anew_of_which_a_page_is_damaged_that_every_start_reads(tmp_path: Path, table: str) -> None:
    file = tmp_path / "index.sqlite3"
    index = PackIndex(file)
    index.add([ReadPack("0.pack", 100, PackContents(IDENTITY, []))])
    index.close()
    with closing(sqlite3.connect(file)) as database:
        (size,) = database.execute("pragma page_size").fetchone()
        (page,) = database.execute("select rootpage from sqlite_master where name = ?", [table]).fetchone()
    data = bytearray(file.read_bytes())
    data[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(data)
    again = PackIndex(file)
    assert again.files() == set()
    again.close()
