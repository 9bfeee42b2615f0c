"""The generator of the table reader's training data: its two parts share no names and no values."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("faker")
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from columns import ALL
from generator import Generator, Limits, Table
from held_out import DEMO, demo_questions, held_out_tables
from words import CITY_PREFIXES, HELD_OUT, SMALL_NUMBER, TRAIN, part_of

# Words that belong to a format, not to a value.
FORMAT_WORDS = {"kg", "cm", "m", "com", "org", "net", "io", "example", *(prefix.lower() for prefix in CITY_PREFIXES)}


def words_of(text: str) -> set[str]:
    """The words and numbers of a cell, in lower case, without those that belong to formats."""
    for mark in "@.-$":
        text = text.replace(mark, " ")
    pieces = {piece.lower() for piece in text.replace(",", "").split()}
    return {p for p in pieces - FORMAT_WORDS if not (p.isdigit() and int(p) < SMALL_NUMBER)}


def cells(table: Table) -> list[str]:
    return [value for column in table.columns for value in column.values]


@pytest.mark.parametrize("part", [TRAIN, HELD_OUT])
def test_every_word_of_a_table_belongs_to_its_part(part: str) -> None:
    generator = Generator(part, seed=7)
    headers: set[str] = set()
    for _ in range(300):
        table = generator.table(rows=5, columns=6, mixed=0.5)
        headers.update(column.header.capitalize() for column in table.columns)
        for cell in cells(table):
            wrong = {word for word in words_of(cell) if part_of(word) != part and not is_code_letters(word, cell)}
            assert not wrong, f"{wrong} in {cell!r}"
    assert {header.capitalize() for header in ALL} <= headers


def is_code_letters(word: str, cell: str) -> bool:
    """Whether ``word`` is the two letters of a code such as AB-1234, or the 555 of a phone number."""
    return cell.startswith((f"{word.upper()}-", "555-")) and (len(word) == 2 or word == "555")


def test_the_demonstration_table_is_held_out() -> None:
    for cell in cells(DEMO):
        assert all(part_of(word) == HELD_OUT for word in words_of(cell)), cell


def test_answers_are_cells_and_keys_name_one_row() -> None:
    for table, questions in held_out_tables(count=200, questions=10, seed=3, limits=Limits()):
        lines = table.text.splitlines()[-table.rows :]
        for question in questions:
            row = [cell.strip() for cell in lines[question.row].strip("|").split("|")]
            assert row[question.column] == question.answer
            by = table.columns[question.by]
            assert by.unique
            assert by.values[question.row] in question.prompt


def test_sizes_stay_within_the_limits() -> None:
    limits = Limits(min_rows=3, max_rows=4, min_columns=3, max_columns=5)
    sizes = {(t.rows, len(t.columns)) for t, _ in held_out_tables(count=100, questions=1, seed=5, limits=limits)}
    assert sizes == {(rows, columns) for rows in (3, 4) for columns in (3, 4, 5)}


def test_the_same_seed_gives_the_same_tables() -> None:
    first, second = (list(held_out_tables(count=5, questions=3, seed=11, limits=Limits())) for _ in range(2))
    assert first == second


def test_the_demonstration_asks_for_every_cell() -> None:
    cell_questions = [q for q in demo_questions() if q.form == "demo cell"]
    assert len(cell_questions) == 25
    assert len({(q.row, q.column) for q in cell_questions}) == 25
    assert "Question: What is Alice Smith's salary? Your answer: " in {q.prompt for q in cell_questions}
