"""Every fault planted into an agent's log is told by its rule with its tokens; nothing of clean twins and controls."""

from pathlib import Path

import pytest

from foreword.testing.planted_faults import FAULTS
from foreword.testing.planted_logs import Fault, check, table

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "figures.md"
EACH = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@EACH
def test_planted(fault: Fault) -> None:
    verdict = check(fault, seed=0)
    assert verdict.right, table([verdict])
    row = f"| {fault.name} | {fault.code or '(control)'} | {fault.code or 'nothing'} | {verdict.tokens:,} |"
    assert row in PAGE.read_text(encoding="utf-8"), (
        "Keep the table anew: python benchmarks/audit.py --planted, then figures.py add"
    )


@EACH
@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds(fault: Fault, seed: int) -> None:
    verdict = check(fault, seed)
    assert verdict.right, table([verdict])


def test_the_planted_are_many() -> None:
    assert len({fault.name for fault in FAULTS if fault.code}) >= 20
    assert len({fault.code for fault in FAULTS if fault.code}) >= 14
