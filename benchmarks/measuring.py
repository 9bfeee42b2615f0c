"""What the benchmarks share: the machine in words, the load that others put on it, and medians."""

from statistics import median

from foreword.bench import machine, watching_others

__all__ = ["machine", "spread", "watching_others"]


def spread(values: list[float], digits: int = 6) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": round(median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "count": len(values),
    }
