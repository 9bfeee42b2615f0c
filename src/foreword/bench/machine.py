"""The machine under a benchmark: what it is, what it can do at most, and what others take of it meanwhile."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from foreword.backends.base import Backend

ROWS, IN, OUT = 2048, 1024, 2816
"""Shape of the matrix product that stands for arithmetic."""
READ_BYTES = 2**30


@dataclass(frozen=True)
class Limits:
    """Rates that no program on this machine exceeds by much.

    gflops
        Float32 arithmetic, 10⁹ operations a second: the best product of 2,048 rows.
    linear_gflops
        The same of the linear layers' own arithmetic: float32, or that of their weight format where the engine is quantised.
    read_gb_s
        Reading 1 GiB of memory once, 10⁹ bytes a second, the best of some.
    """

    gflops: float
    linear_gflops: float
    read_gb_s: float

    def best(self, other: "Limits") -> "Limits":
        """The higher of two measurements, rate by rate."""
        return Limits(
            max(self.gflops, other.gflops),
            max(self.linear_gflops, other.linear_gflops),
            max(self.read_gb_s, other.read_gb_s),
        )


def measure_limits(backend: Backend[Any], seconds: float = 1.0, read_bytes: int = READ_BYTES) -> Limits:
    """Measure each rate for about ``seconds``, with as many threads as the engine has. Takes ``read_bytes`` meanwhile."""
    rows, weights, out = torch.randn(ROWS, IN), torch.randn(OUT, IN), torch.empty(ROWS, OUT)
    work = 2 * ROWS * IN * OUT / 1e9
    with torch.inference_mode():
        gflops = linear_gflops = _best_rate(work, lambda: torch.mm(rows, weights.T, out=out), seconds)
        if backend.describe().weight_bits < 32:
            layer = backend.linear(weights)
            linear_gflops = _best_rate(work, lambda: layer(rows), seconds)
        memory = torch.ones(read_bytes // 4)
        read_gb_s = _best_rate(read_bytes / 1e9, lambda: memory.sum(), seconds)
    return Limits(gflops, linear_gflops, read_gb_s)


def _best_rate(work: float, call: Callable[[], Any], seconds: float) -> float:
    """Most ``work`` a second over about ``seconds`` of calls, one call before them not counted."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return work / best


def machine() -> dict[str, Any]:
    """Processor, cores, threads and versions, for the record."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


@contextmanager
def watching_others(result: dict[str, Any]) -> Iterator[None]:
    """Note in ``result`` how many cores other programs used meanwhile; above 0.05 the figures are spoilt."""
    start, before = time.perf_counter(), _busy_elsewhere()
    yield
    result["other_cores"] = round(max(0.0, _busy_elsewhere() - before) / (time.perf_counter() - start), 3)


def _busy_elsewhere() -> float:
    """CPU seconds that the machine has spent outside this process; 0 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _wait, *rest = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
