"""On Ray Serve replicas are replaced while they answer, and may not take the time that it takes: nobody notices."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="foreword[cluster] is not installed")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cluster_drain.py"


@pytest.mark.timeout(400)
def test_replicas_that_end_in_the_midst_of_answers_are_missed_by_nobody() -> None:
    command = [sys.executable, str(SCRIPT), "deploy", "--drain-seconds", "0.2", "--tokens", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout[done.stdout.index("{\n") : done.stdout.rindex("\n}") + 2])
    assert (told["failed"], told["differing"]) == (0, 0), told["faults"]
    assert told["replicas that ended"] == 2
    assert told["went on elsewhere"] >= 1
    assert told["answers"] >= 1
