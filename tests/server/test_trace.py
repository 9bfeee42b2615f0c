"""A server that writes a trace: what it served can be replayed, and nothing that was said is in the file."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foreword.account import Source
from foreword.cache import CacheConfig
from foreword.errors import ConfigError
from foreword.replay import read_trace, replay_cache
from server.fixtures import openai_client
from server.live import Live


def test_what_was_served_can_be_replayed(serve: Callable[..., Live], tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    live = serve(trace=str(path))
    cached = prompt = 0
    with openai_client(live) as client:
        for question in ("first", "second", "third"):
            answer = client.chat.completions.create(
                model="tiny",
                messages=[
                    {"role": "system", "content": "You are terse. " * 8},
                    {"role": "user", "content": f"The {question} secret"},
                ],
                max_tokens=5,
                temperature=0,
            )
            assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
            cached += answer.usage.prompt_tokens_details.cached_tokens or 0
            prompt += answer.usage.prompt_tokens
    end = time.monotonic() + 60
    while path.read_text().count("\n") < 4:
        assert time.monotonic() < end, "the requests are not in the trace"
        time.sleep(0.01)
    assert "secret" not in path.read_text() and "terse" not in path.read_text()
    with path.open("rb") as stream:
        trace = read_trace(stream)
        result = replay_cache(trace.requests, CacheConfig(num_blocks=680))
    assert trace.kind == "foreword"
    assert (result.requests, result.prompt_tokens) == (3, prompt)
    assert cached - 3 * 3 <= result.by_source[Source.CACHED] <= cached, "to within three tokens a request"


def test_a_file_that_cannot_be_written_is_said_at_start(serve: Callable[..., Live], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be written"):
        serve(trace=str(tmp_path / "nowhere" / "trace.jsonl"))
