"""What is told of a folder of packs, and what is cleared away."""

from pathlib import Path

import pytest

from foreword.errors import NotFoundError
from foreword.tiers import Identity
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.packs import LocalPacks
from foreword.tiers.report import check_store, collect_garbage, list_store, remove_packs
from tiers.made_blocks import BLOCK_BYTES, IDENTITY, OTHER_MODEL, found, made_keys, put

OTHER = Identity.of(OTHER_MODEL)
KEYS = [*made_keys(5), *made_keys(3, first_token=500)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two prompts of one model in two packs, and one of another model."""
    options = PackOptions(pack_bytes=5 * BLOCK_BYTES, min_free_bytes=0)
    for identity, keys in ((IDENTITY, KEYS), (OTHER, made_keys(2, model=OTHER_MODEL))):
        store = LocalPacks(tmp_path, identity, options)
        put(store, keys)
        store.close()
    return tmp_path


def test_it_lists_identities_prompts_and_the_longest_prefix(folder: Path) -> None:
    ours, theirs = list_store(folder).identities
    assert (ours.digest, ours.text) == (IDENTITY.digest.hex(), IDENTITY.text)
    assert (ours.packs, ours.blocks, ours.prompts, ours.longest) == (2, 8, 2, 5)
    assert (theirs.packs, theirs.blocks, theirs.prompts, theirs.longest) == (1, 2, 1, 2)
    assert ours.size + theirs.size == sum(file.stat().st_size for file in folder.glob("*.pack"))


def test_folders_with_the_names_of_packs_are_left_alone(folder: Path) -> None:
    for name in ("mine.pack", "yours.bad"):
        (folder / name).mkdir()
    assert len(list_store(folder).identities) == 2
    assert list_store(folder).unreadable == {}
    assert collect_garbage(folder).files == 0
    assert remove_packs(folder).files == 3


def test_a_prefix_whose_beginning_is_gone_is_none(folder: Path) -> None:
    store = LocalPacks(folder, IDENTITY)
    store.delete_many([KEYS[1].name])
    store.close()
    assert list_store(folder).identities[0].longest == 3


def test_a_check_finds_what_is_damaged(folder: Path) -> None:
    assert (check_store(folder).checked_blocks, check_store(folder).damaged) == (10, {})
    first, second, *_ = sorted(folder.glob("*.pack"), key=lambda file: file.stat().st_size, reverse=True)
    data = bytearray(first.read_bytes())
    data[5000] ^= 1
    first.write_bytes(data)
    second.write_bytes(b"short")
    told = check_store(folder)
    assert told.damaged == {first.name: 1}
    assert list(told.unreadable) == [second.name]


def test_garbage_is_what_nobody_needs(folder: Path) -> None:
    (folder / "0000000000000000.bad").write_bytes(b"12345")
    (folder / "0000000000000000.writing").write_bytes(b"123")
    gone = collect_garbage(folder)
    assert (gone.files, gone.size) == (2, 8)
    assert sorted({file.suffix for file in folder.iterdir()} & {".bad", ".writing"}) == []
    assert sum(each.blocks for each in list_store(folder).identities) == 10
    collect_garbage(folder, max_bytes=list_store(folder).identities[1].size)
    (left,) = list_store(folder).identities
    assert (left.digest, left.blocks) == (OTHER.digest.hex(), 2), "written last"


def test_what_is_removed_is_of_one_identity_or_all(folder: Path) -> None:
    assert remove_packs(folder, OTHER.digest.hex()[:8]).files == 1
    assert found(LocalPacks(folder, IDENTITY), KEYS) == 8
    with pytest.raises(NotFoundError, match="ffff"):
        remove_packs(folder, "ffff" * 16)
    assert remove_packs(folder).files == 2
    assert list_store(folder).identities == []


def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    for ask in (list_store, check_store, collect_garbage, remove_packs):
        with pytest.raises(NotFoundError, match="absent"):
            ask(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
