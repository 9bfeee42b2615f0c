"""The processors that run the kernels, and whether there are too many threads for them."""

import os


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
