"""``foreword replay`` as a person runs it."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.test_cli import COMMAND, run_here
from foreword.testing.synthetic_trace import trace_lines

ONE = b'{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n'
SMALL = ("--blocks", "400", "--block-size", "64")


def replay(*args: object) -> subprocess.CompletedProcess[str]:
    result = run_here("replay", *map(str, args))
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in trace_lines(120)))
    return path


def test_hits_by_source_evictions_and_predicted_times(trace: Path) -> None:
    result = replay(trace, *SMALL, "--prefill-rate", 50_000, "--decode-ms", 20)
    assert result.returncode == 0, result.stderr
    for word in ("hit rate", "cached", "shared in flight", "computed", "evicted", "TTFT p50", "p90", "p99", "lru", "25.6k"):
        assert word in result.stdout
    assert "120 requests" in result.stdout
    assert "with the time spent waiting" in result.stdout
    assert "50000 prompt tokens a second" in result.stdout


def test_sizes_and_policies_are_swept_into_a_table_a_picture_and_a_file(trace: Path, tmp_path: Path) -> None:
    picture, file = tmp_path / "sweep.svg", tmp_path / "sweep.json"
    sizes = ("--blocks", "250", "--blocks", "900", "--block-size", "64", "--policy", "lru", "--policy", "protected-lru")
    result = replay(trace, *sizes, "--loop", "cache", "--svg", picture, "--json", file)
    assert result.returncode == 0, result.stderr
    rows = json.loads(file.read_text())["results"]
    assert [(row["policy"], row["blocks"]) for row in rows] == [
        ("lru", 250), ("lru", 900), ("protected-lru", 250), ("protected-lru", 900),
    ]  # fmt: skip
    assert all(sum(row["by_source"].values()) == row["prompt_tokens"] == rows[0]["prompt_tokens"] for row in rows)
    assert rows[0]["hit_rate"] < rows[1]["hit_rate"]
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert "of an idle machine" in result.stdout


def test_every_policy_beside_the_optimum(trace: Path, tmp_path: Path) -> None:
    picture, file = tmp_path / "sweep.svg", tmp_path / "sweep.json"
    sizes = ("--blocks", "250", "--blocks", "900", "--block-size", "64", "--policy", "all", "--optimum")
    result = replay(trace, *sizes, "--loop", "cache", "--svg", picture, "--json", file)
    assert result.returncode == 0, result.stderr
    report = json.loads(file.read_text())
    assert {row["policy"] for row in report["results"]} >= {"lru", "protected-lru"}
    best = {row["tokens"]: row["hit_rate"] for row in report["optimum"]}
    assert all(row["hit_rate"] <= best[row["tokens"]] for row in report["results"])
    assert "of optimum" in result.stdout
    assert ">optimum</text>" in picture.read_text()


def test_packed_from_a_pipe_and_by_any_name_it_is_the_same_trace(trace: Path, tmp_path: Path) -> None:
    packed = tmp_path / "trace.csv"
    packed.write_bytes(gzip.compress(trace.read_bytes()))

    def figures(text: str) -> list[str]:
        return re.findall(r"lru.*%.*", text)

    plain = figures(replay(trace, *SMALL, "--loop", "cache").stdout)
    assert len(plain) == 1
    assert figures(replay(packed, *SMALL, "--loop", "cache").stdout) == plain
    for more in ((), ("--blocks", "500")):  # read as it comes, and several times
        command = [*COMMAND, "replay", "-", *SMALL, *more, "--loop", "cache"]
        piped = subprocess.run(command, input=packed.read_bytes(), capture_output=True, check=True, timeout=120)
        assert figures(piped.stdout.decode())[0] == plain[0]


def test_costs_come_from_what_bench_wrote(trace: Path, tmp_path: Path) -> None:
    measured = {"per_step": 0.01, "per_token": 1e-5, "per_pair": 0.0, "per_generating": 0.001, "observations": 12}
    report = tmp_path / "bench.json"
    report.write_text(json.dumps({"model": "tiny", "cost_model": measured}))
    result = replay(trace, *SMALL, "--costs", report)
    assert "12 steps measured by foreword bench on tiny" in re.sub(r"\s+", " ", result.stdout)
    default = replay(trace, *SMALL, "--loop", "cache")
    assert "a random Llama of 0.22 B parameters" in default.stdout, "where the default comes from is said"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", (), "The trace is empty."),
        (b"hello\n", (), "Line 1 is of no trace that is known here"),
        (ONE + b'{"timestamp"', (), "Line 2 is no JSON"),
        (ONE, ("--policy", "fifo"), "known policies"),
        (ONE, ("--blocks", "0"), "num_blocks is 0"),
        (ONE.replace(b"5", b"500"), ("--blocks", "2"), "larger --blocks"),
        (ONE, ("--costs", "none.json"), "none.json"),
        (ONE, ("--svg", "/no/x.svg"), "cannot be written"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:20], (), "damaged or cut off"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_status_two(tmp_path: Path, content: bytes, options: tuple[str, ...], message: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    result = replay(path, "--loop", "cache", *options)
    assert result.returncode == 2
    assert message in re.sub(r"\s+", " ", result.stderr)
    assert result.stderr.startswith("Error:"), "no empty line before it"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = replay(tmp_path / "nothing.jsonl")
    assert result.returncode == 2
    assert "nothing.jsonl" in result.stderr.replace("\n", "")


def test_it_runs_without_torch(trace: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'safetensors', 'llvmlite')))\n"
        f"sys.argv = ['foreword', 'replay', {str(trace)!r}, '--blocks', '400', '--block-size', '64']\n"
        "from foreword.cli.main import run; run()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "120 requests" in result.stdout


@pytest.fixture
def two_prompts_twice(tmp_path: Path) -> Path:
    """Prompts of 128 tokens, 100 seconds apart: one, another, the other again, the one again."""
    path = tmp_path / "twice.jsonl"
    keys = ([1, 2], [3, 4], [3, 4], [1, 2])
    lines = [
        {"timestamp": 100_000 * at, "input_length": 128, "output_length": 1, "hash_ids": of} for at, of in enumerate(keys)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_fleet_comes_to_what_it_comes_to_by_hand(two_prompts_twice: Path, tmp_path: Path) -> None:
    """A hit computes 1 of 128 tokens. Round-robin among two finds nothing; among three, the last prompt where it was."""
    picture, file = tmp_path / "fleets.svg", tmp_path / "fleets.json"
    fleets = ("--replicas", "3,2", "--router", "prefix,round-robin", "--trace-block", 64)
    costs = ("--prefill-rate", 1000, "--decode-ms", 10, "--max-num-batched-tokens", 256)
    sizes = ("--blocks", 100, "--block-size", 16)
    result = replay(two_prompts_twice, *fleets, *costs, *sizes, "--svg", picture, "--json", file)
    assert result.returncode == 0, result.stderr
    told = [re.findall(r"[^\s│]+", line) for line in result.stdout.splitlines() if "│" in line]
    assert [row[:2] + row[3:9] for row in told] == [
        ["2", "prefix", "49.6%", "100.0%", "1.00", "1.00", "1.00", "1.00"],
        ["2", "round-robin", "0.0%", "0.0%", "1.00", "1.00", "1.00", "1.00"],
        ["3", "prefix", "49.6%", "100.0%", "1.50", "1.49", "1.49", "1.49"],
        ["3", "round-robin", "24.8%", "50.0%", "1.01", "1.01", "1.01", "1.00"],
    ]
    assert "4 requests; refused: 0. One cache without bounds hits 49.6%." in result.stdout
    rows = json.loads(file.read_text())["results"]
    assert [row["cached_tokens"] for row in rows] == [2 * 127, 0, 2 * 127, 127]
    assert all(row["prompt_tokens"] == 4 * 128 for row in rows)
    assert [row["imbalance"] for row in rows] == pytest.approx([1, 1, 129 * 3 / 258, 129 * 3 / 385])
    assert rows[1]["ttft"]["p50"] == pytest.approx(0.138, rel=0.01)  # 128 tokens at 1,000 a second, and a step
    assert rows[0]["ttft"]["p50"] == pytest.approx(0.011, rel=0.01)  # one token
    assert [row["seconds"] for row in rows] == pytest.approx([300.011, 300.138, 300.011, 300.011])
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_fleet_that_can_answer_nothing_is_an_error(two_prompts_twice: Path) -> None:
    result = replay(two_prompts_twice, "--replicas", 2, "--blocks", 4, "--block-size", 16, "--trace-block", 64)
    assert result.returncode == 2
    assert "has no request that could be answered (4 were refused" in result.stderr
    result = replay(two_prompts_twice, "--replicas", 2, "--router", "best")
    assert result.returncode == 2 and "router is 'best'" in result.stderr
