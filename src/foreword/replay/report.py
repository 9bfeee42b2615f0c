"""Reports of a sweep: rows of a table as text, and a picture in SVG.

The picture is written out here and not by a plotting library: it is a few lines and a legend, needs nothing that the base
installation lacks, and has the same bytes for the same figures.
"""

import math
from collections.abc import Sequence
from html import escape

from foreword.account import Source
from foreword.replay.sweep import Cell, OptimumCell

COLUMNS = (
    "policy", "cache", "hit rate", "of optimum", *(source.value.replace("_", " ") for source in Source), "evicted",
    "TTFT p50", "p90", "p99", "busy",
)  # fmt: skip

OPTIMUM = "optimum"

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 56, 40, 130, 48
GREY = "#808890"  # can be read on white and on black
COLOURS = ("#2a9d8f", "#d9822b", "#5b7fd1", "#b0567f", "#7a8f2a")


def row(cell: Cell, optimum: OptimumCell | None = None) -> tuple[str, ...]:
    """The figures of a cell, as text, in the order of COLUMNS: counts are tokens, the hit rate is of all prompt tokens.

    ``optimum`` is that of the same size, if it is known.
    """
    result = cell.result
    busy = f"{result.busy_seconds / result.seconds:.0%}" if result.seconds and result.busy_seconds else "-"
    return (
        cell.cache.eviction_policy,
        amount(cell.tokens),
        f"{result.hit_rate:.1%}",
        f"{result.hit_rate / optimum.hit_rate:.0%}" if optimum is not None and optimum.hit_rate else "-",
        *(amount(result.by_source.get(source, 0)) for source in Source),
        amount(result.evicted_tokens),
        *(duration(seconds) for seconds in (result.ttft.p50, result.ttft.p90, result.ttft.p99)),
        busy,
    )


def optimum_row(cell: OptimumCell) -> tuple[str, ...]:
    """The row of an optimum: its hit rate, and nothing else."""
    known = (OPTIMUM, amount(cell.tokens), f"{cell.hit_rate:.1%}")
    return (*known, *("-" for _ in COLUMNS[len(known) :]))


def duration(seconds: float | None) -> str:
    """A time with three digits and its unit."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 1000:
        return f"{seconds:.3g} s"
    return f"{seconds / 3600:.3g} h"


def svg(cells: Sequence[Cell], title: str, optimum: Sequence[OptimumCell] = ()) -> str:
    """The hit rate over the size of the cache, a line a policy and one for the optimum, as an SVG document."""
    sizes = sorted({cell.tokens for cell in cells})
    low, high = math.log2(sizes[0]), math.log2(sizes[-1])
    span = high - low or 1.0

    def x(tokens: int) -> float:
        share = (math.log2(tokens) - low) / span if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - rate * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" '
        f'fill="{GREY}">',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-opacity="0.25"/>'
            f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:.0%}</text>'
        )
    for tokens in sizes:
        parts.append(f'<text x="{x(tokens):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{amount(tokens)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">tokens of cache</text>')
    lines = {OPTIMUM: [(x(each.tokens), y(each.hit_rate)) for each in optimum]} if optimum else {}
    for policy in dict.fromkeys(cell.cache.eviction_policy for cell in cells):
        lines[policy] = [(x(each.tokens), y(each.result.hit_rate)) for each in cells if each.cache.eviction_policy == policy]
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(line, name, COLOURS[number % len(COLOURS)], 20 * number + TOP)
    return "\n".join([*parts, "</svg>", ""])


def amount(tokens: int) -> str:
    """A number of tokens in short: 1.05M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return str(tokens)


def _line(points: list[tuple[float, float]], name: str, colour: str, at: int) -> list[str]:
    """A line with its points, and its name in the legend."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    legend = WIDTH - RIGHT + 14
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
        f'<circle cx="{legend}" cy="{at}" r="4" fill="{colour}"/><text x="{legend + 10}" y="{at + 4}">{escape(name)}</text>',
    ]
