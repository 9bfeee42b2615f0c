"""The report as one HTML file without scripts: nothing that stands in a prompt can run.

Jinja escapes every value; a content security policy forbids everything but the style sheet in the file.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, StrictUndefined

from foreword.audit.findings import BUCKETS, HeatCell, Report
from foreword.audit.reports.notes import notes
from foreword.audit.reports.page import PAGE

ROWS_SHOWN = 24


def html_report(report: Report, new: frozenset[str], log: str) -> str:
    """``log`` is the audited file's name; ``new`` are the fingerprints that no baseline knows."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["marked"] = marked
    return environment.from_string(PAGE).render(
        report=report,
        totals=report.totals,
        new=new,
        log=log,
        notes=notes(report),
        columns=column_names(),
        rows=heat_rows(report),
    )


def column_names() -> list[str]:
    """Headings of the heat map's columns: tokens from the beginning of the prompt."""
    return [f"< {end:,}" for end in BUCKETS] + [f"≥ {BUCKETS[-1]:,}"]


def heat_rows(report: Report) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """The heat map: places in the order of the prompt, and for each a cell or None per column; the hottest has heat 9."""
    hottest = max((cell.tokens for cell in report.heat), default=1) or 1
    weight: dict[str, int] = {}
    for cell in report.heat:
        weight[cell.place] = weight.get(cell.place, 0) + cell.tokens
    places = sorted(sorted(weight, key=lambda place: -weight[place])[:ROWS_SHOWN], key=_order)
    cells = {(cell.place, cell.bucket): cell for cell in report.heat}
    return [(place, [_cell(cells.get((place, bucket)), hottest) for bucket in range(len(BUCKETS) + 1)]) for place in places]


def _cell(cell: HeatCell | None, hottest: int) -> dict[str, Any] | None:
    if cell is None:
        return None
    heat = round(9 * cell.tokens / hottest)
    return {"heat": heat, "requests": cell.requests, "faults": cell.faults, "tokens": cell.tokens}


def _order(place: str) -> tuple[int, str]:
    for rank, beginning in enumerate(("tools", "output schema", "system", "message", "later")):
        if place.startswith(beginning):
            return rank, place
    return 9, place


def marked(text: str, other: str | None) -> Iterator[tuple[bool, str]]:
    """A text cut into (differs from the other, words)."""
    if other is None:
        yield False, text
        return
    matcher = difflib.SequenceMatcher(None, text, other, autojunk=False)
    at = 0
    for block in matcher.get_matching_blocks():
        if block.a > at:
            yield True, text[at : block.a]
        if block.size:
            yield False, text[block.a : block.a + block.size]
        at = block.a + block.size
