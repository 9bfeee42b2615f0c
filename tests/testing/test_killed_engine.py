"""Engines that are killed while they serve: nothing wrong, nothing left (benchmarks/engine_kills.py kills more)."""

import json
import subprocess
import sys
from pathlib import Path


def test_ten_engines_that_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "foreword.testing.killed_engine", str(tmp_path / "packs"), "10", "3"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["kills"] == 10
    assert told["answers"] > 10
    assert told["packs"] > 0
    assert told["stored_tokens"] > 0, "what a killed engine had stored is used"
    found = {name: told[name] for name in ("wrong_answers", "packs_not_whole", "left_over_files", "leaked_packs")}
    assert set(found.values()) == {0}, found
