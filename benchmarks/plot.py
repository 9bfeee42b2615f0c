"""Draw what was measured: the figures of ``foreword bench`` beside their bounds, or TTFT over the length of the prefix.

    foreword bench --json FILE && python benchmarks/plot.py FILE [--out docs/images/bench.svg]
    python benchmarks/engine.py --parts lengths --json FILE && python benchmarks/plot.py FILE [--out docs/images/ttft.svg]

Pictures have no background, and greys that can be read on white and on black.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

IMAGES = Path("docs/images")
GREY, COLD, WARM = "#808890", "#d9822b", "#2a9d8f"


def draw_bounds(results: list[dict[str, Any]], out: Path) -> None:
    """A bar for each figure that has a bound: how near to it; the figure and the bound are written beside it."""
    rows = [(each["workload"], figure) for each in results for figure in each["figures"] if figure["bound"] is not None]
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.36 * len(rows)))
    for place, (_, row) in enumerate(rows):
        share = row["share_of_bound"]
        axes.barh(place, 1, color=GREY, alpha=0.15, height=0.62)
        axes.barh(place, share, color=WARM, height=0.62)
        axes.annotate(f"{share:.0%}", (share, place), (5, 0), textcoords="offset points", color=GREY, va="center")
        text = f"{amount(row['median'], row['unit'])} (bound {amount(row['bound'], row['unit'])})"
        axes.annotate(text, (1.02, place), color=GREY, va="center", annotation_clip=False)
    axes.set_yticks(range(len(rows)), [f"{workload}: {row['name']}" for workload, row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.7)
    axes.set_xticks([])
    axes.tick_params(colors=GREY, length=0)
    axes.set_title("Measured, as a share of what the machine allows", color=GREY, loc="left")
    for spine in axes.spines.values():
        spine.set_visible(False)
    save(figure, out)


def amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    return duration(1000 * value) if unit == "s" else f"{value:.3g} {unit}"


def draw_lengths(rows: list[dict[str, Any]], suffix: int, out: Path) -> None:
    """Two lines on logarithmic axes; each point has its time, and its factor is written at the last one."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    lengths = [row["prefix"] for row in rows]
    for key, colour, label in (("cold_s", COLD, "cold"), ("warm_s", WARM, "from the cache")):
        times = [row[key]["median"] * 1000 for row in rows]
        axes.plot(lengths, times, color=colour, marker="o", markersize=5, linewidth=2)
        axes.annotate(
            f"{label}\n{duration(times[-1])}", (lengths[-1], times[-1]), (10, 0),
            textcoords="offset points", color=colour, va="center",
        )  # fmt: skip
    for row in rows:
        factor = row["cold_s"]["median"] / row["warm_s"]["median"]
        middle = (row["cold_s"]["median"] * row["warm_s"]["median"]) ** 0.5 * 1000
        axes.annotate(
            f"{factor:.2g}×" if factor < 10 else f"{factor:.0f}×", (row["prefix"], middle), color=GREY, ha="center"
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    ticks = [tick for tick in (1, 10, 100, 1_000, 10_000, 100_000) if within(tick, axes.get_ylim())]
    axes.set_yticks(ticks, [duration(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"tokens of shared prefix, then {suffix} of its own", color=GREY)
    axes.set_title("Time to first token", color=GREY, loc="left")
    axes.tick_params(colors=GREY)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GREY)
    save(figure, out)


def plain_text() -> None:
    """Text that stays text in an SVG."""
    plt.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "svg.hashsalt": "foreword"})


def save(figure: Any, out: Path) -> None:
    """Write an SVG whose bytes are the same for the same figures."""
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, transparent=True, metadata={"Date": None})


def duration(milliseconds: float) -> str:
    """A time with two or three digits and its unit."""
    return f"{milliseconds / 1000:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"


def within(value: float, limits: tuple[float, float]) -> bool:
    """Whether a value lies between two others."""
    return limits[0] <= value <= limits[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    plain_text()
    results = json.loads(args.json.read_text())
    parts = [part for name, part in results.items() if name.startswith("lengths")]
    if "results" in results:
        out = args.out or IMAGES / "bench.svg"
        draw_bounds(results["results"], out)
    elif parts:
        out = args.out or IMAGES / "ttft.svg"
        draw_lengths(parts[-1]["rows"], parts[-1]["suffix"], out)
    else:
        raise SystemExit(f"{args.json} is neither of 'foreword bench' nor of benchmarks/engine.py --parts lengths.")
    print(out, f"{out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
