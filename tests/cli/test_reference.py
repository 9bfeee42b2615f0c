"""The reference pages are what the fields and commands say now."""

import re
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


@pytest.mark.parametrize(
    ("name", "cell"), [("configuration.md", -1), ("cli.md", -1), ("metrics.md", -1), ("errors.md", -1), ("http.md", 1)]
)
def test_nothing_is_without_words(name: str, cell: int) -> None:
    """The last cell of a row says what a thing is; the second one of a field of HTTP, its type or what becomes of it."""
    rows = [line for line in PAGES[name]().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    told = [re.split(r"(?<!\\) *\| ", row.removesuffix(" |").removeprefix("| "))[cell] for row in rows]
    assert not [row for row, words in zip(rows, told, strict=True) if not words.strip()]


def test_pages_are_written_into_a_folder(tmp_path: Path) -> None:
    write_pages([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)
    with pytest.raises(ParameterError, match="is not one folder"):
        write_pages([str(tmp_path / "none")])
