"""Writers of packs that are killed: nothing wrong, nothing lost, nothing left (benchmarks/store_kills.py kills more)."""

import json
import subprocess
import sys
from pathlib import Path


def test_twenty_writers_that_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "foreword.testing.killed_writer", str(tmp_path / "packs"), "20", "3"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["kills"] == 20
    assert told["blocks_read"] > 0
    found = {name: told[name] for name in ("wrong_blocks", "lost_blocks", "packs_set_aside", "left_over_files")}
    assert set(found.values()) == {0}, found
