"""Throughput and memory of ``foreword audit`` on generated logs of agents, and what it tells of planted faults.

    python benchmarks/audit.py [--megabytes 300] [--logs clean faulty] [--output audit.json]
    python benchmarks/audit.py --planted

A log is made of agent conversations that run side by side: 12 tools, a system prompt of 8,000 characters, 16 turns with a
tool result each; in the faulty log the system prompt begins with the time, and a third of the clients send their tools in
another order each turn. Each audit runs in a process of its own, so that the peak of resident memory is the audit's; how it
grows is noted five times in each reading.

With ``--planted`` it prints instead what is told of the faults of ``foreword.testing.planted_faults``, each in a log of
three sessions of twelve turns, from three seeds: the rule, and the tokens beside those that an own replay finds lost.
"""

import argparse
import json
import mmap
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foreword.audit import ByteTokens, audit
from foreword.prompt.prices import PriceTable
from foreword.testing.planted_faults import FAULTS
from foreword.testing.planted_logs import check, table

SIDE_BY_SIDE = 12
TURNS = 16
START = 1_767_225_600.0
SAMPLES = 5
SEEDS = (0, 1, 2)


def main() -> None:
    """Make the logs, audit them, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--logs", choices=["clean", "faulty"], nargs="+", default=["clean", "faulty"])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--planted", action="store_true", help="print the table of planted faults, and nothing else")
    options = parser.parse_args()
    if options.planted:
        print(table([check(fault, seed) for fault in FAULTS for seed in SEEDS]), end="")
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.megabytes:
            for kind in options.logs:
                log = Path(folder) / "log.jsonl"
                size = write_log(log, megabytes * 1_000_000, kind == "faulty")
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    figures = pool.apply(measure, (log,))
                figures = {"log": kind, "megabytes": round(size / 1e6, 1), **figures}
                results.append(figures)
                print(json.dumps(figures))
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


def measure(log: Path) -> dict[str, Any]:
    """Audit one file. MB/s are of the file's bytes for each reading of it, in CPU time."""

    curves: list[list[int]] = []
    step = log.stat().st_size // SAMPLES

    def lines(_purpose: str) -> Iterator[bytes]:
        curves.append([])
        with log.open("rb") as file:
            for line in file:
                yield line
                if file.tell() >= step * (len(curves[-1]) + 1):
                    curves[-1].append(resident_mb())

    start, cpu = time.perf_counter(), time.process_time()
    report = audit(lines, ByteTokens(), PriceTable.built_in())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    megabytes = log.stat().st_size / 1e6
    return {
        "requests": report.totals.requests,
        "findings": [finding.code for finding in report.findings],
        "passes": report.passes,
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "mb_per_s_per_pass": round(megabytes * report.passes / cpu, 1),
        "mb_per_s": round(megabytes / cpu, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "rss_mb_by_fifths": curves,
        "forgotten_tokens": report.forgotten_tokens,
    }


def resident_mb() -> int:
    """Megabytes of resident memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE // 2**20


def write_log(path: Path, size: int, faulty: bool) -> int:
    """Write a log of about ``size`` bytes; returns the bytes written."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(20_000)]

    def text(chars: int) -> str:
        return " ".join(rng.choices(vocabulary, k=chars // 7))

    tools = [
        {
            "type": "function",
            "function": {"name": f"tool_{i}", "description": text(300), "parameters": {"type": "object", "properties": {}}},
        }
        for i in range(12)
    ]
    rules, agents, written, number = text(8_000), [Agent(text) for _ in range(SIDE_BY_SIDE)], 0, 0
    with path.open("wb") as file:
        while written < size:
            place = number % SIDE_BY_SIDE
            if agents[place].turns == TURNS:
                agents[place] = Agent(text)
            own = rng.sample(tools, len(tools)) if faulty and place % 3 == 0 else tools
            now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(START + number))
            system = f"Now: {now}\n{rules}" if faulty and place % 3 == 1 else rules
            line = json.dumps(agents[place].request(START + 3 * number, system, own)).encode() + b"\n"
            written += file.write(line)
            number += 1
    return written


class Agent:
    """One conversation with an agent."""

    def __init__(self, text: Any):
        self._text = text
        self.turns = 0
        self.history: list[dict[str, Any]] = [{"role": "user", "content": text(400)}]

    def request(self, at: float, system: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The next turn's line."""
        messages = [{"role": "system", "content": system}, *self.history]
        call = {"id": f"call_{self.turns}", "type": "function", "function": {"name": "tool_1", "arguments": "{}"}}
        self.history += [
            {"role": "assistant", "content": self._text(150), "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": self._text(2_000)},
        ]
        self.turns += 1
        return {"ts": at, "duration": 1.5, "request": {"model": "gpt-5", "messages": messages, "tools": tools}}


if __name__ == "__main__":
    main()
