"""What providers report of a request's tokens, in any vendor's words."""

import math
from collections.abc import Mapping
from typing import Any

from foreword.audit.request import ReportedUsage


def read_usage(usage: Any) -> ReportedUsage | None:
    """Prompt, cached and written tokens from any vendor's usage; None when it is not there or not understood."""
    if not isinstance(usage, dict):
        return None
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        if "prompt_tokens" in usage:  # LiteLLM writes both vendors' fields; its prompt_tokens is the whole prompt
            return ReportedUsage(_count(usage, "prompt_tokens"), read, written)
        return ReportedUsage(_count(usage, "input_tokens") + read + written, read, written)
    if "prompt_cache_hit_tokens" in usage:
        hit = _count(usage, "prompt_cache_hit_tokens")
        return ReportedUsage(hit + _count(usage, "prompt_cache_miss_tokens"), hit)
    for total, details in (("prompt_tokens", "prompt_tokens_details"), ("input_tokens", "input_tokens_details")):
        if total in usage:
            inner = usage.get(details)
            inner = inner if isinstance(inner, dict) else {}
            return ReportedUsage(_count(usage, total), _count(inner, "cached_tokens"), _count(inner, "cache_write_tokens"))
    return None


def _count(usage: Mapping[str, Any], key: str) -> int:
    return max(0, int(finite(usage.get(key)) or 0))


def finite(value: Any) -> float | None:
    """A number as a float; None for what is none, and for a number that cannot be reckoned with (NaN, beyond a float)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
