"""What providers report of a request's tokens, in any vendor's words, and where an answer holds it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.readers.values import finite, mapping, opened
from foreword.audit.request import ReportedUsage

_DETAILS = (("prompt_tokens", "prompt_tokens_details"), ("input_tokens", "input_tokens_details"))


def read_usage(usage: Any) -> ReportedUsage | None:
    """Prompt, cached and written tokens from any vendor's usage; None when it is not there or not understood."""
    if not isinstance(usage, dict):
        return None
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        if "prompt_tokens" in usage:  # LiteLLM writes both vendors' fields; its prompt_tokens is the whole prompt
            return ReportedUsage(_count(usage, "prompt_tokens"), read, written)
        plain = "input_tokens" if "input_tokens" in usage else "input"
        return ReportedUsage(_count(usage, plain) + read + written, read, written)
    if "inputTokens" in usage:  # Bedrock
        read, written = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
        return ReportedUsage(_count(usage, "inputTokens") + read + written, read, written)
    if "promptTokenCount" in usage:  # Gemini
        return ReportedUsage(_count(usage, "promptTokenCount"), _count(usage, "cachedContentTokenCount"))
    if "prompt_token_count" in usage:
        return ReportedUsage(_count(usage, "prompt_token_count"), _count(usage, "cached_content_token_count"))
    if "prompt_cache_hit_tokens" in usage:
        hit = _count(usage, "prompt_cache_hit_tokens")
        return ReportedUsage(hit + _count(usage, "prompt_cache_miss_tokens"), hit)
    if isinstance(usage.get("input_token_details"), dict):  # LangChain; its input_tokens are the whole prompt
        inner = usage["input_token_details"]
        return ReportedUsage(_count(usage, "input_tokens"), _count(inner, "cache_read"), _count(inner, "cache_creation"))
    for total, details in _DETAILS:
        if total in usage:
            inner = mapping(usage.get(details))
            cached = _count(inner, "cached_tokens") or _count(usage, "cached_input_tokens")
            return ReportedUsage(_count(usage, total), cached, _count(inner, "cache_write_tokens"))
    return None


def usage_of_answer(answer: Any) -> Any:
    """The usage in an answer's body: JSON, JSON as text, or the events of a stream (each figure as it was told last)."""
    answer = opened(answer)
    if isinstance(answer, str | list):
        found: Any = None
        for event in _events(answer) if isinstance(answer, str) else answer:
            later = usage_of_answer(event)
            if isinstance(later, dict):
                found = {**found, **{key: value for key, value in later.items() if value}} if found else later
        return found
    if not isinstance(answer, dict):
        return None
    for key in ("usage", "usageMetadata", "usage_metadata"):
        if isinstance(answer.get(key), dict):
            return answer[key]
    inner = (answer.get(key) for key in ("response", "message", "body", "body_raw", "metadata", "chunks", "events"))
    return next((usage for usage in map(usage_of_answer, inner) if usage is not None), None)


def _events(text: str) -> Iterator[Any]:
    """The data of server-sent events that speak of usage."""
    for line in text.splitlines():
        if line.startswith("data:") and "sage" in line:
            try:
                yield json.loads(line[5:])
            except (ValueError, RecursionError):
                continue


def _count(usage: Mapping[str, Any], key: str) -> int:
    return max(0, int(finite(usage.get(key)) or 0))
