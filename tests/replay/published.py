"""The public request traces, where they are beside the project."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from foreword.replay import TraceRequest, read_trace

FOLDER = Path(__file__).parents[3] / "shared" / "traces"
CONVERSATION = "mooncake_conversation_trace.jsonl.gz"
CODING = "claude_code_sessions_64.rle.jsonl.gz"
AGENT = "lmcache_agent_64.jsonl.gz"
LENGTHS = "azure2023_conv_lengths.csv.gz"

needs_traces = pytest.mark.skipif(
    not FOLDER.exists(), reason="the public request traces are not beside the project (../shared/traces)"
)


def published(name: str) -> Iterator[TraceRequest]:
    """The requests of a public trace."""
    with (FOLDER / name).open("rb") as stream:
        yield from read_trace(stream).requests


def prompts(name: str, scale: int, count: int | None = None) -> list[bytes]:
    """The first prompts of a trace, packed; one token stands for ``scale``."""
    return [request.prompt(scale) for request in islice(published(name), count)]
