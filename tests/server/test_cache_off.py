"""Where nothing is cached, nobody is told that something was."""

from typing import Any

import pytest

from server.live import Live
from serving.test_metrics import samples, total

TURN = [{"role": "user", "content": "the quick brown fox jumps over the lazy dog"}]


@pytest.mark.parametrize("options", [{"engine": {"enable_prefix_caching": False}}, {"min_cached_tokens": 1000}])
def test_nothing_is_read_or_written_with_marks_or_without(serve: Any, options: dict[str, Any]) -> None:
    live: Live = serve(**options)
    body: dict[str, Any] = {"model": "tiny", "messages": TURN, "max_tokens": 1}
    marked = {**body, "cache_control": {"type": "ephemeral"}}
    with live.client() as client:
        for _ in range(2):
            usage = client.post("/v1/messages", json=marked).json()["usage"]
            assert usage["input_tokens"] > 0
            assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (0, 0)
            assert set(usage["cache_creation"].values()) == {0}
            details = client.post("/v1/chat/completions", json=body).json()["usage"]["prompt_tokens_details"]
            assert details == {"cached_tokens": 0, "cache_write_tokens": 0}
    live.settle()
    assert total(samples(live), "vllm:prefix_cache_queries_total") == 0
    assert total(samples(live), "vllm:prompt_tokens_total") > 0
