"""Charts of results: figures beside their bounds, TTFT over the length of a prefix, Foreword beside other engines, hit
rates over the size of a cache.

Pictures have no background, and greys that can be read on white and on black. Each has in its
description a digest of what it was drawn from.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

GREY, COLD, WARM = "#808890", "#d9822b", "#2a9d8f"
PEERS = (
    ("w1", "ttft_cold_s", "s", "one table: first token, cold"),
    ("w1", "ttft_warm_s", "s", "one table: first token, warm"),
    ("w1", "decode_tok_s", "tok/s", "one table: decode"),
    ("w2", "out_tok_s_cold", "tok/s", "32 behind one prefix, cold"),
    ("w2", "out_tok_s_warm", "tok/s", "32 behind one prefix, warm"),
    ("w3", "wall_s", "s", "8 chats of 6 turns"),
    ("w4", "out_tok_s", "tok/s", "8 behind 8,192 tokens"),
    ("unshared", "out_tok_s", "tok/s", "32 that share nothing"),
)
"""Workload, field and unit of the peers harness (unshared: of unshared_crowd.py), and what it is."""
NAMES = {"foreword_adapter": "Foreword", "openvino_genai_cb": "OpenVINO GenAI", "vllm_cpu": "vLLM CPU"}


def chart_data(raw: list[dict[str, Any]]) -> tuple[str, Any]:
    """Which chart a benchmark's own output makes, and the part of the output that is drawn.

    ``raw`` has the objects that were printed: one by ``foreword bench``, ``engine.py``, ``policies.py``; many by the peers
    harness.

    Raises:
        ValueError: it is the output of none of them.
    """
    first = raw[0]
    if "sweeps" in first:
        return "sweeps", first["sweeps"]
    if "results" in first:
        rows = [{"workload": each["workload"], **row} for each in first["results"] for row in each["figures"]]
        fields = ("workload", "name", "unit", "median", "bound", "share_of_bound")
        return "bounds", [{name: row[name] for name in fields} for row in rows if row["bound"] is not None]
    for part in (part for name, part in first.items() if name.startswith("lengths")):
        seconds = [{key: row[key]["median"] for key in ("cold_s", "warm_s")} for row in part["rows"]]
        rows = [{"prefix": row["prefix"], **times} for row, times in zip(part["rows"], seconds, strict=True)]
        return "lengths", {"suffix": part["suffix"], "rows": rows}
    if "event" in first:
        return "engines", _medians([line for line in raw if line["event"] == "result"])
    known = "'foreword bench', benchmarks/engine.py --parts lengths, benchmarks/policies.py, or the peers harness"
    raise ValueError(f"This is not of {known}.")


def draw(chart: dict[str, Any], folder: Path) -> None:
    """Draw a chart of a result (``chart``, ``image`` and ``data``) into a folder: the same bytes for the same figures."""
    plt.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "svg.hashsalt": "foreword"})
    figure = KINDS[chart["chart"]](chart["data"])
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / chart["image"], transparent=True, metadata={"Date": None, "Description": drawn_from(chart)})
    plt.close(figure)


def drawn_from(chart: dict[str, Any]) -> str:
    """The digest of what is drawn, as the picture's description has it."""
    return f"drawn from {hashlib.sha256(json.dumps(chart['data']).encode()).hexdigest()[:16]}"


def _bounds(rows: list[dict[str, Any]]) -> Any:
    """A bar for each figure that has a bound: how near to it; the figure and the bound are written beside it."""
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.36 * len(rows)))
    for place, row in enumerate(rows):
        share = row["share_of_bound"]
        axes.barh(place, 1, color=GREY, alpha=0.15, height=0.62)
        axes.barh(place, share, color=WARM, height=0.62)
        room: Any = {"color": GREY, "ha": "left"} if share < 0.85 else {"color": "white", "ha": "right"}
        axes.annotate(
            f"{share:.0%}", (share, place), (5 if share < 0.85 else -5, 0), textcoords="offset points", va="center", **room
        )
        text = f"{_amount(row['median'], row['unit'])} (bound {_amount(row['bound'], row['unit'])})"
        axes.annotate(text, (1.02, place), color=GREY, va="center", annotation_clip=False)
    axes.set_yticks(range(len(rows)), [f"{row['workload']}: {row['name']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.7)
    _bare(axes)
    axes.set_title("Measured, as a share of what the machine allows", color=GREY, loc="left")
    return figure


def _lengths(data: dict[str, Any]) -> Any:
    """Two lines on logarithmic axes; each point has its time, and its factor is written at the last one."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    rows = data["rows"]
    lengths = [row["prefix"] for row in rows]
    for key, colour, label in (("cold_s", COLD, "cold"), ("warm_s", WARM, "from the cache")):
        times = [row[key] * 1000 for row in rows]
        axes.plot(lengths, times, color=colour, marker="o", markersize=5, linewidth=2)
        axes.annotate(
            f"{label}\n{_duration(times[-1])}", (lengths[-1], times[-1]), (10, 0),
            textcoords="offset points", color=colour, va="center",
        )  # fmt: skip
    for row in rows:
        factor = row["cold_s"] / row["warm_s"]
        text = f"{factor:.2g}×" if factor < 10 else f"{factor:.0f}×"
        middle = (row["cold_s"] * row["warm_s"]) ** 0.5 * 1000
        axes.annotate(text, (row["prefix"], middle), color=GREY, ha="center")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    low, high = axes.get_ylim()
    ticks = [tick for tick in (1, 10, 100, 1_000, 10_000, 100_000) if low <= tick <= high]
    axes.set_yticks(ticks, [_duration(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"tokens of shared prefix, then {data['suffix']} of its own", color=GREY)
    axes.set_title("Time to first token", color=GREY, loc="left")
    axes.tick_params(colors=GREY)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GREY)
    return figure


def _engines(data: list[dict[str, Any]]) -> Any:
    """A small picture a figure: the longer bar is better where it is a rate, the shorter where it is a time."""
    figure, grid = plt.subplots(len(data), 1, figsize=(8, 1.0 * len(data)), squeeze=False)
    for axes, each in zip(grid[:, 0], data, strict=True):
        engines = each["engines"].items()
        for place, (engine, value) in enumerate(engines):
            axes.barh(place, value, color=WARM if engine == "Foreword" else GREY, height=0.7)
            text = _amount(value, each["unit"])
            axes.annotate(text, (value, place), (5, 0), textcoords="offset points", color=GREY, va="center")
        axes.set_yticks(range(len(engines)), [engine for engine, _ in engines])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(value for _, value in engines))
        _bare(axes)
        better = "shorter is better" if each["unit"] == "s" else "longer is better"
        axes.set_title(f"{each['title']} ({better})", color=GREY, loc="left", fontsize=10)
    return figure


def _sweeps(data: list[dict[str, Any]]) -> Any:
    """A picture a trace: the hit rate over the size of the cache, a line a policy; broken where clients say what goes on."""
    figure, grid = plt.subplots(1, len(data), figsize=(4.2 * len(data), 3.8), squeeze=False)
    colours = {"lru": COLD, "protected-lru": "#5b7fd1", "learned": WARM, "optimum": GREY}
    for axes, each in zip(grid[0], data, strict=True):
        for name, rates in each["rates"].items():
            policy, says, _ = name.partition(", told")
            line = {"color": colours[policy], "linestyle": "--" if says else "-", "linewidth": 2, "label": name}
            axes.plot(each["sizes"], [100 * rate for rate in rates], marker="o", markersize=3, **line)
        axes.set_xscale("log", base=2)
        axes.set_xticks(each["sizes"], [f"{size:g}" for size in each["sizes"]], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("million tokens of cache", color=GREY)
        axes.set_title(f"{each['trace']}: hit rate, per cent", color=GREY, loc="left", fontsize=10)
        axes.tick_params(colors=GREY)
        axes.grid(axis="y", color=GREY, alpha=0.25)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(GREY)
    grid[0][-1].legend(frameon=False, labelcolor=GREY, fontsize=8)
    return figure


KINDS: dict[str, Callable[[Any], Any]] = {"bounds": _bounds, "lengths": _lengths, "engines": _engines, "sweeps": _sweeps}
"""How each kind of chart is drawn from its data."""


def _medians(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the runs of each engine, figure by figure; Foreword first."""
    data = []
    for workload, field, unit, title in PEERS:
        runs: dict[str, list[float]] = {}
        for line in lines:
            if line["workload"] == workload:
                runs.setdefault(NAMES.get(Path(line["engine"]).stem, line["engine"]), []).append(line[field])
        engines = {name: median(runs[name]) for name in sorted(runs, key=lambda name: (name != "Foreword", name))}
        if engines:
            data.append({"title": title, "unit": unit, "engines": engines})
    return data


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.tick_params(colors=GREY, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    return _duration(1000 * value) if unit == "s" else f"{value:.3g} {unit}"


def _duration(milliseconds: float) -> str:
    """A time with two or three digits and its unit."""
    return f"{milliseconds / 1000:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"
