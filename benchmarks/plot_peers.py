"""Draw Foreword beside other engines, from the lines that the peers harness prints.

    python PEERS/run.py ENGINE float32 w1,w2,w3,w4 --model MODEL >> FILE     # for each engine
    python benchmarks/plot_peers.py FILE [--precision float32] [--out docs/images/peers.svg]

A small picture for each figure, a bar for each engine that has it: the median of its runs.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt

from plot import GREY, IMAGES, WARM, amount, plain_text, save

FIGURES = (
    ("w1", "ttft_cold_s", "s", "one table: first token, cold"),
    ("w1", "ttft_warm_s", "s", "one table: first token, warm"),
    ("w1", "decode_tok_s", "tok/s", "one table: decode"),
    ("w2", "out_tok_s_cold", "tok/s", "32 behind one prefix, cold"),
    ("w2", "out_tok_s_warm", "tok/s", "32 behind one prefix, warm"),
    ("w3", "wall_s", "s", "8 chats of 6 turns"),
    ("w4", "out_tok_s", "tok/s", "8 behind 8,192 tokens"),
    ("unshared", "out_tok_s", "tok/s", "32 that share nothing"),
)
"""Workload, field and unit of the harness (unshared: of unshared_crowd.py), and what it is."""
NAMES = {"foreword_adapter": "Foreword", "openvino_genai_cb": "OpenVINO GenAI", "vllm_cpu": "vLLM CPU"}


def medians(lines: list[dict[str, Any]], precision: str) -> dict[tuple[str, str], dict[str, float]]:
    """By workload and field: of each engine."""
    runs: dict[tuple[str, str], dict[str, list[float]]] = {}
    for line in lines:
        if line["event"] != "result" or line["precision"] != precision:
            continue
        engine = NAMES.get(Path(line["engine"]).stem, line["engine"])
        for workload, field, _, _ in FIGURES:
            if line["workload"] == workload:
                runs.setdefault((workload, field), {}).setdefault(engine, []).append(line[field])
    return {key: {engine: median(values) for engine, values in engines.items()} for key, engines in runs.items()}


def draw_peers(found: dict[tuple[str, str], dict[str, float]], out: Path) -> None:
    """The longer bar is better where it is a rate, the shorter where it is a time; the title says which."""
    shown = [figure for figure in FIGURES if figure[:2] in found]
    figure, grid = plt.subplots(len(shown), 1, figsize=(8, 1.0 * len(shown)), squeeze=False)
    for axes, (workload, field, unit, title) in zip(grid[:, 0], shown, strict=True):
        engines = sorted(found[workload, field].items(), key=lambda pair: list(NAMES.values()).index(pair[0]))
        for place, (engine, value) in enumerate(engines):
            axes.barh(place, value, color=WARM if engine == "Foreword" else GREY, height=0.7)
            axes.annotate(amount(value, unit), (value, place), (5, 0), textcoords="offset points", color=GREY, va="center")
        axes.set_yticks(range(len(engines)), [engine for engine, _ in engines])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(value for _, value in engines))
        axes.set_xticks([])
        axes.tick_params(colors=GREY, length=0)
        better = "shorter is better" if unit == "s" else "longer is better"
        axes.set_title(f"{title} ({better})", color=GREY, loc="left", fontsize=10)
        for spine in axes.spines.values():
            spine.set_visible(False)
    save(figure, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, default=IMAGES / "peers.svg")
    args = parser.parse_args()
    plain_text()
    lines = [json.loads(line) for line in args.lines.read_text().splitlines() if line.startswith("{")]
    found = medians(lines, args.precision)
    if not found:
        raise SystemExit(f"{args.lines} has no results in {args.precision}.")
    draw_peers(found, args.out)
    print(args.out, f"{args.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
