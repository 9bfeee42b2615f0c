"""A row of the table: what was measured, the target beside it, and whether it is met."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line. ``figures``: what it was made of, for the record."""

    what: str
    measured: str
    target: str
    met: bool
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def table(rows: list[Row]) -> str:
    """Markdown, one line a row."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.measured} | {row.target} | {'met' if row.met else '**missed**'} |" for row in rows]
    return "\n".join(lines)
