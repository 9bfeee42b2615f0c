"""What the benchmarks share: the machine in words, the load that others put on it, and medians."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers


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


def spread(values: list[float], digits: int = 6) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": round(median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "count": len(values),
    }


def _busy_elsewhere() -> float:
    """CPU seconds that the machine has spent outside this process; 0 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _wait, *rest = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
