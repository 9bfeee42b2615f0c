"""What the readers share: how JSON, media, marks and usage become neutral."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.request import Usage

TTL_SECONDS = {"5m": 300.0, "in_memory": 300.0, "30m": 1800.0, "1h": 3600.0, "12h": 43200.0, "24h": 86400.0}
DEFAULT_MARK = 300.0
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def as_json(value: Any) -> str:
    """Compact JSON with the keys in the order in which they were sent."""
    return ENCODER.encode(value)


def media_digest(kind: str, value: Any) -> str:
    """A name for an image or file: the same bytes give the same name, and the bytes are not kept."""
    data = as_json(value).encode("utf-8", "surrogatepass")
    return f"{kind} {hashlib.blake2b(data, digest_size=16).hexdigest()}"


def mark_of(block: Mapping[str, Any]) -> float | None:
    """TTL in seconds of the mark on a block: Anthropic's cache_control or OpenAI's prompt_cache_breakpoint."""
    control = block.get("cache_control")
    if isinstance(control, dict):
        return TTL_SECONDS.get(str(control.get("ttl", "5m")), DEFAULT_MARK)
    breakpoint_ = block.get("prompt_cache_breakpoint")
    return TTL_SECONDS.get(str(breakpoint_.get("ttl")), TTL_SECONDS["30m"]) if isinstance(breakpoint_, dict) else None


def blocks_of(content: Any) -> Iterator[tuple[str, str, float | None]]:
    """(kind, text, mark) of every block of a message's or system's content, in any vendor's form."""
    if content is None:
        return
    if not isinstance(content, list):
        yield "text", content if isinstance(content, str) else as_json(content), None
        return
    for block in content:
        if isinstance(block, dict):
            yield *_block(block), mark_of(block)
        else:
            yield "text", block if isinstance(block, str) else as_json(block), None


def _block(block: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(block.get("type", "text"))
    if kind in ("text", "input_text", "output_text", "refusal"):
        text = block.get("text", block.get("refusal", ""))
        return "text", text if isinstance(text, str) else as_json(text)
    if kind in ("image", "image_url", "input_image"):
        return "image", media_digest("image", block.get("source", block.get("image_url", block.get("file_id"))))
    if kind in ("document", "file", "input_file"):
        return "file", media_digest("file", block.get("source", block.get("file", block.get("file_data"))))
    if kind in ("input_audio", "audio"):
        return "audio", media_digest("audio", block.get("input_audio", block.get("data")))
    if kind == "tool_use":
        return "tool_use", as_json({"id": block.get("id"), "name": block.get("name"), "input": block.get("input")})
    if kind == "tool_result":
        return "tool_result", _tool_result(block)
    if kind in ("thinking", "redacted_thinking", "reasoning"):
        return "thinking", str(block.get("thinking", block.get("data", as_json(block))))
    return kind, as_json({key: value for key, value in block.items() if key != "cache_control"})


def _tool_result(block: Mapping[str, Any]) -> str:
    inner = [text for _, text, _ in blocks_of(block.get("content"))]
    return "\n".join([str(block.get("tool_use_id", "")), *inner])


def read_usage(usage: Any) -> Usage | None:
    """Prompt, cached and written tokens from any vendor's usage; None when it is not there or not understood."""
    if not isinstance(usage, dict):
        return None
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        if "prompt_tokens" in usage:  # LiteLLM writes both vendors' fields; its prompt_tokens is the whole prompt
            return Usage(_count(usage, "prompt_tokens"), read, written)
        return Usage(_count(usage, "input_tokens") + read + written, read, written)
    if "prompt_cache_hit_tokens" in usage:
        hit = _count(usage, "prompt_cache_hit_tokens")
        return Usage(hit + _count(usage, "prompt_cache_miss_tokens"), hit)
    for total, details in (("prompt_tokens", "prompt_tokens_details"), ("input_tokens", "input_tokens_details")):
        if total in usage:
            inner = usage.get(details)
            inner = inner if isinstance(inner, dict) else {}
            return Usage(_count(usage, total), _count(inner, "cached_tokens"), _count(inner, "cache_write_tokens"))
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
