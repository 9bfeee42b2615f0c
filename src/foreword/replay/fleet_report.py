"""Reports of a sweep over fleets: rows of a table, figures for a file, and a picture in SVG."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from foreword.replay.fleet_sweep import FleetCell, Offered
from foreword.replay.report import COLOURS, GREY, duration

FLEET_COLUMNS = (
    "replicas", "router", "speed", "hit rate", "of one cache", "imbalance", "in turn", "shared out", "at least",
    "TTFT p50", "p90", "p95", "p99", "took",
)  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460, 320, 56, 64, 16, 48


def fleet_row(cell: FleetCell, asked: Offered) -> tuple[str, ...]:
    """The figures of a fleet, as text, in the order of FLEET_COLUMNS."""
    result = cell.result
    return (
        str(cell.replicas),
        cell.router,
        f"{cell.speed:.3g}x",
        f"{result.hit_rate:.1%}",
        f"{_of_one_cache(cell, asked):.1%}",
        f"{result.imbalance:.2f}",
        f"{result.in_turn:.2f}",
        f"{result.shared_out:.2f}",
        f"{least_imbalance(cell, asked):.2f}",
        *(duration(seconds) for seconds in result.ttft),
        duration(result.seconds),
    )


def least_imbalance(cell: FleetCell, asked: Offered) -> float:
    """What the imbalance is at least, if a longest prompt is computed whole: its share of the mean work, or 1."""
    mean = sum(cell.result.work) / len(cell.result.work)
    return max(1.0, asked.longest / mean) if mean else 1.0


def fleet_json(cells: Sequence[FleetCell], asked: Offered) -> dict[str, Any]:
    """For a file."""
    rows = [
        {
            "router": cell.router,
            "replicas": cell.replicas,
            "speed": cell.speed,
            "requests": cell.result.requests,
            "refused": cell.result.refused,
            "prompt_tokens": cell.result.prompt_tokens,
            "cached_tokens": cell.result.cached_tokens,
            "hit_rate": cell.result.hit_rate,
            "of_one_cache": _of_one_cache(cell, asked),
            "imbalance": cell.result.imbalance,
            "imbalance_in_turn": cell.result.in_turn,
            "imbalance_shared_out": cell.result.shared_out,
            "least_imbalance": least_imbalance(cell, asked),
            "ttft": dict(zip(("p50", "p90", "p95", "p99"), cell.result.ttft, strict=True)),
            "preemptions": cell.result.preemptions,
            "seconds": cell.result.seconds,
        }
        for cell in cells
    ]
    return {"hit_rate_of_one_cache": asked.hit_rate, "results": rows}


def fleet_svg(cells: Sequence[FleetCell], asked: Offered, title: str) -> str:
    """Hit rate and 95 % time to first token over the number of replicas, a line a router, as an SVG document."""
    best = max([asked.hit_rate, *(cell.result.hit_rate for cell in cells)]) or 1.0
    times = [cell.result.ttft[2] or 1e-3 for cell in cells]
    low = math.floor(math.log10(min(times)))
    high = max(math.ceil(math.log10(max(times))), low + 1)
    decades = [10.0**power for power in range(low, high + 1)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{GREY}">',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, name in enumerate(dict.fromkeys(cell.router for cell in cells)):
        at, colour = LEFT + 130 * number, _colour(cells, name)
        parts.append(f'<circle cx="{at}" cy="40" r="4" fill="{colour}"/><text x="{at + 10}" y="44">{escape(name)}</text>')
    rates = [(best * share, f"{best * share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts += _panel(cells, 0, "hit rate", rates, lambda cell: cell.result.hit_rate / best)
    seconds = [(each, duration(each)) for each in decades]
    parts += _panel(
        cells, WIDTH, "TTFT p95", seconds, lambda cell: (math.log10(cell.result.ttft[2] or 1e-3) - low) / (high - low)
    )
    return "\n".join([*parts, "</svg>", ""])


def _of_one_cache(cell: FleetCell, asked: Offered) -> float:
    return cell.result.hit_rate / asked.hit_rate if asked.hit_rate else 1.0


def _colour(cells: Sequence[FleetCell], router: str) -> str:
    return COLOURS[list(dict.fromkeys(cell.router for cell in cells)).index(router) % len(COLOURS)]


def _panel(
    cells: Sequence[FleetCell], left: int, name: str, ticks: Sequence[tuple[float, str]], share: Callable[[FleetCell], float]
) -> list[str]:
    """One quantity over the number of replicas; ``ticks`` are spread evenly, ``share`` is from 0 at the lowest to 1."""
    sizes = sorted({cell.replicas for cell in cells})
    span = math.log2(sizes[-1] / sizes[0]) or 1.0
    start, end, floor = left + LEFT, left + WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(replicas: int) -> float:
        return start + 12 + (math.log2(replicas / sizes[0]) / span if len(sizes) > 1 else 0.5) * (end - start - 24)

    def y(part: float) -> float:
        return floor - part * (floor - TOP - 16)

    parts = [f'<text x="{start}" y="{TOP}">{escape(name)}</text>']
    for number, (_, label) in enumerate(ticks):
        level = y(number / (len(ticks) - 1))
        parts.append(
            f'<path d="M{start} {level:.1f}H{end}" stroke="{GREY}" stroke-opacity="0.25"/>'
            f'<text x="{start - 6}" y="{level + 4:.1f}" text-anchor="end">{label}</text>'
        )
    parts += [f'<text x="{x(size):.1f}" y="{floor + 18}" text-anchor="middle">{size}</text>' for size in sizes]
    parts.append(f'<text x="{(start + end) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">replicas</text>')
    for router in dict.fromkeys(cell.router for cell in cells):
        points = [(x(cell.replicas), y(share(cell))) for cell in cells if cell.router == router]
        path, colour = "L".join(f"{a:.1f} {b:.1f}" for a, b in points), _colour(cells, router)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    return parts
