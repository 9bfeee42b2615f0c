"""What the pages are made of: tables, first sentences and first paragraphs."""

import re
from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, with code in markdown's way."""
    return (text or "").split("\n\n")[0].replace("``", "`")


def sentence(text: str | None) -> str:
    """The first sentence of a docstring, in one line."""
    return re.split(r"(?<=\.)\s", paragraph(text).replace("\n", " "))[0].rstrip(":")
