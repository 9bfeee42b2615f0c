"""Results of benchmarks: whole records, and a page and pictures that were made from them."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEER = {"event": "result", "precision": "float32", "workload": "w3"}
BENCH = {"name": "cold", "unit": "s", "median": 2.0, "bound": 1.0, "share_of_bound": 0.5, "runs": [2.0]}
RAW: dict[str, tuple[list[dict[str, Any]], Any]] = {
    "bounds": (
        [{"results": [{"workload": "crowd", "figures": [BENCH, {**BENCH, "bound": None}]}]}],
        [{"workload": "crowd", **{name: BENCH[name] for name in ("name", "unit", "median", "bound", "share_of_bound")}}],
    ),
    "lengths": (
        [{"lengths_large": {"suffix": 3, "rows": [{"prefix": 8, "cold_s": {"median": 2.0}, "warm_s": {"median": 1.0}}]}}],
        {"suffix": 3, "rows": [{"prefix": 8, "cold_s": 2.0, "warm_s": 1.0}]},
    ),
    "engines": (
        [
            {"event": "start"},
            {**PEER, "engine": "vllm_cpu", "wall_s": 9.0},
            *({**PEER, "engine": "benchmarks/foreword_adapter.py", "wall_s": wall} for wall in (1.0, 5.0, 2.0)),
        ],
        [{"title": "8 chats of 6 turns", "unit": "s", "engines": {"Foreword": 2.0, "vLLM CPU": 9.0}}],
    ),
}
"""What benchmarks print, and what is drawn of it."""


@pytest.fixture(scope="module")
def benchmarks() -> Any:
    """The scripts figures.py and charts.py, found as when one of them is run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield lambda name: load(name)
    sys.path.remove(str(ROOT / "benchmarks"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_of_benchmarks", ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_results_say(benchmarks: Any) -> None:
    figures = benchmarks("figures")
    results = figures.load_results()
    assert len(results) > 25
    assert figures.PAGE.read_text("utf-8") == figures.page(results), "run: make figures"


def test_pictures_were_drawn_from_the_results(benchmarks: Any) -> None:
    figures, charts = benchmarks("figures"), benchmarks("charts")
    shown = figures.charts(figures.load_results())
    assert {each["image"] for each in shown} >= {"bench.svg", "ttft.svg", "peers.svg"}
    for each in shown:
        assert charts.drawn_from(each) in (figures.IMAGES / each["image"]).read_text("utf-8"), (
            f"{each['image']}: make figures"
        )


def test_every_script_is_in_the_table() -> None:
    told = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    untold = [path.name for path in (ROOT / "benchmarks").glob("*.py") if path.name not in told]
    assert not untold, "say in benchmarks/README.md what they answer"


@pytest.mark.parametrize("kind", RAW)
def test_what_a_benchmark_prints_becomes_a_chart(benchmarks: Any, kind: str, tmp_path: Path) -> None:
    raw, drawn = RAW[kind]
    (tmp_path / "new.json").write_text("\n".join(json.dumps(line) for line in raw))
    (chart,) = benchmarks("figures").body_of(tmp_path / "new.json")
    assert chart == {"chart": kind, "image": "new.svg", "alt": "new", "data": drawn}
    benchmarks("charts").draw(chart, tmp_path)
    once = (tmp_path / "new.svg").read_bytes()
    benchmarks("charts").draw(chart, tmp_path)
    assert (tmp_path / "new.svg").read_bytes() == once


def test_markdown_becomes_paragraphs_and_tables(benchmarks: Any, tmp_path: Path) -> None:
    figures = benchmarks("figures")
    (tmp_path / "notes.md").write_text("Two\nlines:\n\n| model | MB | s |\n|---|---|---|\n| **0.2 B** | 1,552 | 0.70 |\n")
    body = figures.body_of(tmp_path / "notes.md")
    assert body == ["Two lines:", {"columns": ["model", "MB", "s"], "rows": [["0.2 B", 1552, "0.70"]]}]
    result = {"title": "T", "part": figures.PARTS[0], "date": "2026-01-02", "commands": ["x"], "machine": "M"}
    result |= {"versions": {"python": "3"}, "noise": "None.", "body": body}
    for date in ("2026-01-02", "2026-03-04"):
        (tmp_path / f"{date}-memory.json").write_text(figures.written({**result, "date": date}))
    results = figures.load_results(tmp_path)
    assert [(name, each["date"]) for name, each in results] == [("memory", "2026-03-04"), ("memory", "2026-01-02")]
    page = figures.page(results)
    assert "| 0.2 B | 1,552 | 0.70 |" in page
    assert page.count("### T") == 1
    assert "Earlier results: 2026-01-02." in page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"noise": ""}, "noise"),
        ({"part": "Elsewhere"}, "none of"),
        ({"date": "2026-01-03"}, "own date"),
        ({"weather": "fine"}, "weather"),
        ({"body": [{"columns": ["a", "b"], "rows": [[1]]}]}, "as many cells"),
        ({"body": [{"chart": "pie"}]}, "neither"),
    ],
)
def test_half_a_result_is_refused(benchmarks: Any, change: dict[str, Any], told: str, tmp_path: Path) -> None:
    figures = benchmarks("figures")
    result = {"title": "T", "part": figures.PARTS[0], "date": "2026-01-02", "commands": ["x"], "machine": "M"}
    result |= {"versions": {"python": "3"}, "noise": "None.", "body": ["x"], **change}
    (tmp_path / "2026-01-02-name.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=told):
        figures.load_results(tmp_path)
