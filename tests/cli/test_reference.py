"""The reference pages are what the fields and commands say now."""

from pathlib import Path

import pytest

from foreword.cli.reference.writing import PAGES, write_pages
from foreword.errors import ParameterError

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_would_be_written(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run: make reference"


def test_every_public_name_has_a_whole_sentence() -> None:
    rows = [line for line in PAGES["public.md"]().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if not row.endswith(". |")]


def test_pages_are_written_into_a_folder(tmp_path: Path) -> None:
    write_pages([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)
    with pytest.raises(ParameterError, match="is not one folder"):
        write_pages([str(tmp_path / "none")])
