"""Vendors' words for how long a prefix is to be kept, in seconds after its last use."""

from collections.abc import Mapping
from typing import Any

ANTHROPIC = {"5m": 300.0, "1h": 3600.0}
"""``ttl`` of a mark (``cache_control``)."""
ANTHROPIC_DEFAULT = "5m"

OPENAI = {"30m": 1800.0, "12h": 43200.0}
"""``ttl`` of the cache options, and of a mark (``prompt_cache_breakpoint``)."""
OPENAI_DEFAULT = "30m"
OPENAI_RETENTION = {"in_memory": 300.0, "24h": 86400.0}
"""``prompt_cache_retention``."""

_ANY = {**ANTHROPIC, **OPENAI, **OPENAI_RETENTION}


def seconds(word: Any) -> float | None:
    """A lifetime in any vendor's word; None for a word that none of them has."""
    return _ANY.get(str(word))


def of_mark(block: Mapping[str, Any]) -> float | None:
    """The lifetime of the mark on a block, message or tool; None if there is no mark. A word unknown: the default."""
    control = block.get("cache_control")
    if isinstance(control, dict):
        return _ANY.get(str(control.get("ttl", ANTHROPIC_DEFAULT)), ANTHROPIC[ANTHROPIC_DEFAULT])
    breakpoint_ = block.get("prompt_cache_breakpoint")
    return _ANY.get(str(breakpoint_.get("ttl")), OPENAI[OPENAI_DEFAULT]) if isinstance(breakpoint_, dict) else None
