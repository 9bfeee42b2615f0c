"""What the kernels are compiled for, and the threads that run them, in words."""

import os
from collections.abc import Mapping

import llvmlite.binding as llvm

VECTORS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4.2", "SSE4.2"), ("neon", "NEON"))
"""Features as LLVM names them, the widest first."""


def kernels_in_words(processor: str | None = None, features: Mapping[str, bool] | None = None) -> str:
    """What kernels are compiled for: by default the processor at hand."""
    found = llvm.get_host_cpu_features() if features is None else features
    vectors = next((name for feature, name in VECTORS if found.get(feature)), "no vectors")
    return f"kernels for {processor or llvm.get_host_cpu_name()} ({vectors})"


def processors() -> int:
    """How many the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_threads(threads: int, processors: int) -> str | None:
    """A warning, if there are more threads than processors to run them."""
    if threads <= processors:
        return None
    return (
        f"{threads} are more threads than processors ({processors}): each operation waits for all of them, which is several "
        f"times slower. Set OMP_NUM_THREADS={processors}, or leave it unset."
    )
