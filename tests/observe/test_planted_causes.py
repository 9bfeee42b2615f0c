"""Requests with one planted cause each: the cause is named and the token is exact. ``benchmarks/observe.py`` runs 1,000."""

import subprocess
import sys
from pathlib import Path

from foreword.observe import Reason
from foreword.testing.planted_causes import Planter, Verdict, matrix, run_cases

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- the table of reasons -->", "<!-- end of the table -->"


def test_every_planted_cause_is_found_at_its_token() -> None:
    verdicts = run_cases(90, seed=11)
    assert len(verdicts) == 90
    wrong = [v for v in verdicts if (v.planted, v.planted_position) != (v.found, v.found_position)]
    assert not wrong


def test_the_causes_are_many() -> None:
    assert len({case.reason for case in Planter().cases(30)}) == 12


def test_the_matrix_shows_what_was_taken_for_what() -> None:
    right = Verdict(Reason.EVICTED, Reason.EVICTED, 7, 7)
    wrong = Verdict(Reason.EVICTED, Reason.DIVERGED, 7, 8)
    table = matrix([right, right, wrong])
    assert "| 2 `evicted` | 1 | 2 | 3 |" in table
    assert "Reason right: 2 of 3. Token exact: 2 of 3." in table


def test_the_table_in_the_docs_is_the_scripts(tmp_path: Path) -> None:
    """Its last run had a thousand cases, and the script fills that place and no other."""
    text = (ROOT / "docs" / "how-to" / "observe.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    assert "of 1000. Token exact:" in table
    copy = tmp_path / "observe.md"
    copy.write_text(text, encoding="utf-8")
    script: list[str | Path] = [
        sys.executable,
        ROOT / "benchmarks" / "observe.py",
        "reasons",
        "--cases",
        "3",
        "--write",
        copy,
    ]
    subprocess.run(script, check=True, capture_output=True)
    written = copy.read_text(encoding="utf-8")
    assert written.startswith(before + BEGIN)
    assert written.endswith(END + after)
    assert "Reason right: 3 of 3." in written
