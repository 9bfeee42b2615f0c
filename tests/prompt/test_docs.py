"""The examples in docs/how-to/prompts.md are files, and they run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("build_prompt", "holds a value that changes: '2026-11-22' (date, line 1)"),
        ("build_prompt", "The customer is Ann Lee. marked"),
        ("grow_conversation", "['system', 'user', 'user'] of which shared: 1"),
        ("where_a_prompt_differs", "in: system"),
    ],
)
def test_an_example_is_the_file_and_runs(name: str, printed: str) -> None:
    example = ROOT / "examples" / f"{name}.py"
    assert example.read_text().split('"""\n\n', 1)[1] in (ROOT / "docs" / "how-to" / "prompts.md").read_text()
    result = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert printed in result.stdout
