"""A disk without room: nothing is taken, nothing goes that would bring no room, and it is said once."""

from pathlib import Path

import pytest

from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import IDENTITY, found, made_keys, put

KEYS = made_keys(8)
FULL = PackOptions(min_free_bytes=2**60)


def test_a_disk_without_room_takes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = LocalPacks(tmp_path, IDENTITY, FULL)
    assert put(store, KEYS[:5]) == put(store, KEYS[5:]) == 0
    assert store.usage().refused == 8
    store.close()
    assert [*tmp_path.glob("*.pack"), *tmp_path.glob("*.writing")] == []
    (record,) = caplog.records
    assert f"The store {tmp_path} does not take all that is stored" in record.getMessage()


def test_what_is_there_stays_where_its_going_would_bring_no_room(tmp_path: Path) -> None:
    before = LocalPacks(tmp_path, IDENTITY, PackOptions(min_free_bytes=0))
    assert put(before, KEYS[:4]) == 4
    before.close()
    store = LocalPacks(tmp_path, IDENTITY, FULL)
    assert put(store, KEYS[4:]) == 0
    assert found(store, KEYS[:4]) == 4
    store.close()
