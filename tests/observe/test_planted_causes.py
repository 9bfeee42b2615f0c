"""Requests with one planted cause each: the cause is named and the token is exact. ``benchmarks/observe.py`` runs 1,000."""

from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from observe.scripts import load

planted = load("planted_causes", "planted_causes")
benchmark = load("observe", "observe_benchmark")
DOCS = Path(__file__).parents[2] / "docs" / "observe.md"


def test_every_planted_cause_is_found_at_its_token() -> None:
    verdicts = benchmark.reasons(cases=90, seed=11)
    wrong = [v for v in verdicts if (v.planted, v.planted_position) != (v.found, v.found_position)]
    assert not wrong


def test_the_causes_are_many() -> None:
    assert len({case.reason for case in planted.Planter().cases(30)}) == 12


def test_the_matrix_shows_what_was_taken_for_what() -> None:
    reason = planted.Reason
    right = planted.Verdict(reason.EVICTED, reason.EVICTED, 7, 7)
    wrong = planted.Verdict(reason.EVICTED, reason.DIVERGED, 7, 8)
    table = benchmark.matrix([right, right, wrong])
    assert "| 2 `evicted` | 1 | 2 | 3 |" in table
    assert "Reason right: 2 of 3. Token exact: 2 of 3." in table


def test_the_table_in_the_docs_is_the_scripts(tmp_path: Path) -> None:
    """Its last run: a thousand cases, and in the place that the script fills."""
    text = DOCS.read_text(encoding="utf-8")
    table = text.split(benchmark.BEGIN)[1].split(benchmark.END)[0]
    assert "of 1000. Token exact:" in table
    copy = tmp_path / "observe.md"
    copy.write_text(text, encoding="utf-8")
    benchmark.write_between_marks(copy, table.strip())
    assert copy.read_text(encoding="utf-8") == text
