"""foreword store."""

from pathlib import Path

from cli.test_cli import run_here
from foreword.tiers.packs import LocalPacks
from tiers.made_blocks import IDENTITY, made_keys, put


def test_a_store_is_listed_checked_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    packs = LocalPacks(folder, IDENTITY)
    put(packs, made_keys(3))
    packs.close()
    digest = IDENTITY.digest.hex()
    listed = run_here("store", "ls", str(folder)).stdout
    assert f"identity {digest[:12]}: 1 packs" in listed
    assert "blocks: 3; prompts: 1; blocks of the longest prefix: 3" in listed
    assert '"weights": "tiny"' in listed
    assert "3 blocks read, 0 damaged" in run_here("store", "check", str(folder)).stdout
    (pack,) = folder.glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[5000] ^= 1
    pack.write_bytes(data)
    checked = run_here("store", "check", str(folder))
    assert checked.returncode == 1
    assert f"{pack.name}: 1 blocks have a wrong checksum" in checked.stdout
    assert "0 files removed" in run_here("store", "gc", str(folder)).stdout
    assert "1 files removed" in run_here("store", "gc", str(folder), "--max-size", "0MB").stdout
    assert "No packs." in run_here("store", "ls", str(folder)).stdout


def test_a_folder_that_cannot_be_cleared_is_told_in_a_line(tmp_path: Path) -> None:
    for name in ("index.sqlite3", "index.sqlite3.bad/x"):
        (tmp_path / name).mkdir(parents=True)
    result = run_here("store", "gc", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: The store {tmp_path} failed:")
    assert result.stderr.count("\n") == 1


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for arguments, message in (
        (["ls", str(tmp_path / "absent")], "absent"),
        (["rm", str(tmp_path), "--identity", "abc"], "'abc'"),
        (["ls", str(tmp_path), "--identity", "abc"], "--identity is for rm"),
        (["rm", str(tmp_path), "--max-size", "3GB"], "--max-size is for gc"),
        (["gc", str(tmp_path), "--max-size", "3"], "a number with a unit"),
        (["dance", str(tmp_path)], "dance"),
    ):
        result = run_here("store", *arguments)
        assert result.returncode != 0
        assert message in result.stderr
