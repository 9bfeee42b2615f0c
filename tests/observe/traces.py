"""The public request traces, scaled down: a trace block of 512 (or 64) tokens becomes a few tokens of its own."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from foreword.cache import pack_tokens

FOLDER = Path(__file__).parents[3] / "shared" / "traces"

needs_traces = pytest.mark.skipif(
    not FOLDER.exists(), reason="the public traces are not beside the project (../shared/traces)"
)


def mooncake(block: int) -> list[bytes]:
    """Prompts, packed, of the conversation trace; ``block`` tokens stand for 512."""
    prompts = []
    for request in _lines("mooncake_conversation_trace.jsonl.gz"):
        prompts.append(_expand(request["hash_ids"], block, request["input_length"] * block // 512))
    return [prompt for prompt in prompts if prompt]


def agent(block: int) -> list[bytes]:
    """Prompts of the agent trace; ``block`` tokens stand for about 64."""
    return [
        _expand(r["hash_ids"], block, len(r["hash_ids"]) * block)
        for r in _lines("lmcache_agent_64.jsonl.gz")
        if r["hash_ids"]
    ]


def coding(sessions: int) -> list[bytes]:
    """Prompts of the first coding sessions, one session after another; one token stands for 64."""
    prompts, base = [], 0
    for number, session in enumerate(_lines("claude_code_sessions_64.rle.jsonl.gz")):
        if number == sessions:
            break
        requests = [
            part for request in session["reqs"] for part in (request["sub"] if isinstance(request, dict) else [request])
        ]
        runs = [[base + token for first, last in request[6] for token in range(first, last + 1)] for request in requests]
        prompts += [pack_tokens(tokens) for tokens in runs if tokens]
        base = max((max(tokens) for tokens in runs if tokens), default=base) + 1
    return prompts


def _lines(name: str) -> list[dict]:
    with gzip.open(FOLDER / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def _expand(blocks: list[int], block: int, length: int) -> bytes:
    ids = np.asarray(blocks, np.int32)[:, None] * block + np.arange(block, dtype=np.int32)
    return pack_tokens(ids.ravel()[:length])
