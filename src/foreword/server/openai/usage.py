"""Usage, log-probabilities and diagnostics in OpenAI's shapes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from foreword.outputs import Logprob
from foreword.prompt.vendor_forms import ttl
from foreword.serving.neutral import Changed, Choice, Diagnosis, TokenUsage

Json = dict[str, Any]
NO_CHANCE = -9999.0
"""Stands for minus infinity, which JSON does not have."""

REASONS = {
    Changed.MODEL: "model_changed",
    Changed.TOOLS: "tools_changed",
    Changed.SYSTEM: "input_changed",
    Changed.SETTINGS: "input_changed",
    Changed.MESSAGES: "input_changed",
}
SETTINGS = {
    "prompt_cache_key": "prompt_cache_key_changed",
    "text_format": "text_format_changed",
    "reasoning_effort": "reasoning_effort_changed",
    "verbosity": "verbosity_changed",
    "context": "context_compacted",
    "service_tier": "service_tier_changed",
}
"""The vendor's reasons for settings that make another prompt. Those that this server passes over never do."""


def completion_usage(usages: Iterable[TokenUsage]) -> Json:
    """``usage`` of both completions endpoints, over all prompts of a request.

    Predicted tokens are those that were drafted from the prediction; rejected ones are no tokens of the completion.
    """
    usages = list(usages)
    prompt = sum(usage.prompt_tokens for usage in usages)
    output = sum(usage.output_tokens for usage in usages)
    drafted = sum(usage.predicted.drafted for usage in usages)
    accepted = sum(usage.predicted.accepted for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": sum(usage.reused for usage in usages),
            "cache_write_tokens": sum(usage.written for usage in usages),
        },
        "completion_tokens_details": {
            "reasoning_tokens": sum(usage.reasoning_tokens for usage in usages),
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": drafted - accepted,
        },
    }


def response_usage(usage: TokenUsage) -> Json:
    """``usage`` of the Responses endpoint."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.reused,
            "cache_write_tokens": usage.written,
            "cache_write_tokens_details": _written_by_ttl(usage),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


def _written_by_ttl(usage: TokenUsage) -> Json:
    """Tokens entered into the cache, by the vendor's lifetimes: those under a mark of 12 hours or more, and all others."""
    long = sum(tokens for seconds, tokens in usage.written_by_ttl.items() if seconds >= ttl.OPENAI["12h"])
    long = min(long, usage.written)
    return {"ttl_12h_tokens": long, "ttl_30m_tokens": usage.written - long}


def cache_diagnostics(diagnosis: Diagnosis | None) -> Json | None:
    """``prompt_cache_diagnostics``; None when it was not asked for."""
    if diagnosis is None:
        return None
    if diagnosis.changed is Changed.NOTHING:
        return {"type": "cache_hit"}
    if diagnosis.changed is Changed.NOT_FOUND:
        return {"type": "comparison_response_not_found"}
    if diagnosis.changed not in REASONS:
        return {"type": "unavailable"}
    return {
        "type": "cache_miss",
        "reason": SETTINGS.get(diagnosis.setting, REASONS[diagnosis.changed]),
        "cache_missed_tokens": diagnosis.missed_tokens,
        "comparison_reusable_tokens": diagnosis.reusable_tokens,
    }


def likeliest(entries: Mapping[int, Logprob], most: int) -> list[int]:
    """The likeliest tokens at one place, as many as were asked for, best first."""
    return sorted((token for token, entry in entries.items() if entry.rank <= most), key=lambda token: entries[token].rank)


def token_names(entries: Mapping[int, Logprob]) -> dict[int, str]:
    """The names of the tokens at one place, each its own: the text, of tokens with one text for the likeliest.

    The others are named by their bytes, ``bytes:\\xf0\\x9f``, where they are no text, else by their number, ``token_id:17``.
    """
    names: dict[int, str] = {}
    for token in sorted(entries, key=lambda token: entries[token].rank):
        text, raw = entries[token].decoded_token, entries[token].token_bytes
        others = ["bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)] if text.encode() != raw else []
        known = names.values()
        names[token] = next(name for name in (text, *others, f"token_id:{token}") if name not in known)
    return names


def finite(value: float) -> float:
    """A log-probability as JSON can hold it."""
    return value if math.isfinite(value) else NO_CHANCE


def token_logprobs(choice: Choice, most: int, as_ids: bool = False) -> list[Json]:
    """Each token of a choice with the likeliest at its place, as chat completions and responses have them.

    ``as_ids``: tokens are called by their numbers, ``token_id:17``.
    """

    def described(token: int, entry: Logprob) -> Json:
        name = f"token_id:{token}" if as_ids else entry.decoded_token
        return {"token": name, "logprob": finite(entry.logprob), "bytes": list(entry.token_bytes)}

    return [
        {**described(token, at[token]), "top_logprobs": [described(other, at[other]) for other in likeliest(at, most)]}
        for token, at in zip(choice.token_ids, choice.logprobs or (), strict=False)
    ]
