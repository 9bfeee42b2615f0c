"""The examples in docs/how-to/replay.md and docs/how-to/testing.md are files, and they run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "name", "printed"),
    [
        ("replay", "replay_a_trace", "16,000 tokens: "),
        ("testing", "fake_engine", "[32, 33, 34] cached: 30 of 32"),
    ],
)
def test_an_example_is_the_file_and_runs(page: str, name: str, printed: str) -> None:
    example = ROOT / "examples" / f"{name}.py"
    assert example.read_text().split('"""\n\n', 1)[1] in (ROOT / "docs" / "how-to" / f"{page}.md").read_text()
    result = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert printed in result.stdout
