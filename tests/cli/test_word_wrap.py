"""Text in pieces, wrapped at words."""

import textwrap

import pytest

from foreword.cli.word_wrap import WordWrap

TEXT = "The prefix cache computes every prompt's foreword once and answers  sooner.\n\nA second paragraph follows here."


def wrapped(text: str, width: int, piece: int) -> str:
    """What is written when the text comes in pieces of some characters."""
    written: list[str] = []
    wrap = WordWrap(written.append, width)
    for start in range(0, len(text), piece):
        wrap.write(text[start : start + piece])
    wrap.flush()
    return "".join(written)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("width", [12, 20, 33, 200])
def test_no_word_is_broken(piece: int, width: int) -> None:
    out = wrapped(TEXT, width, piece)
    assert max(map(len, out.split("\n"))) <= width
    assert out.split() == TEXT.split()


def test_it_wraps_as_textwrap_does() -> None:
    text = "one two three four five six seven eight nine ten"
    assert wrapped(text, 14, 1) == textwrap.fill(text, 14)


def test_a_word_longer_than_a_line_is_broken_and_nothing_is_lost() -> None:
    out = wrapped("a " + "x" * 25 + " b", 10, 4)
    assert out.replace("\n", "").replace(" ", "") == "a" + "x" * 25 + "b"
    assert max(map(len, out.split("\n"))) <= 10


def test_lines_and_indents_of_the_text_stay() -> None:
    text = "if a:\n    b = 1\n\nelse:\n    c"
    assert wrapped(text, 80, 2) == text
