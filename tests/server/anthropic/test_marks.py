"""Marks through HTTP: what they keep in a small cache, and for how long."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from foreword.engine import EngineConfig
from server.anthropic.conftest import anthropic_client
from server.live import Live, live_server

SYSTEM = "the lazy dog sleeps under the quick brown fox, and the fox jumps over it again and again. " * 2
MARK = {"type": "ephemeral"}


class Clock:
    """The engine's clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def shared_small(engine_config: Callable[..., EngineConfig], clock: Clock) -> Iterator[Live]:
    """A server with room for 44 blocks of 16 tokens."""
    config = engine_config(kv_cache_memory_bytes=2**19 + 2**14, max_num_seqs=16)
    with live_server(config, clock=clock, served_model_name="tiny") as running:
        yield running


@pytest.fixture
def small(shared_small: Live) -> Iterator[Live]:
    shared_small.settle()
    shared_small.engine.reset_prefix_cache()
    yield shared_small
    shared_small.settle()


def ask(live: Live, text: str, mark: dict[str, str] | None = None, max_tokens: int = 1) -> int:
    """Ask behind the system prompt; returns the tokens read from the cache."""
    system: Any = [{"type": "text", "text": SYSTEM, **({"cache_control": mark} if mark else {})}]
    messages: Any = [{"role": "user", "content": text}]
    with anthropic_client(live) as client:
        answer = client.messages.create(model="tiny", max_tokens=max_tokens, system=system, messages=messages)
    assert answer.usage.cache_read_input_tokens is not None
    return answer.usage.cache_read_input_tokens


def flood(live: Live, count: int) -> None:
    """One-off prompts of 5 tokens, each of which takes a block; 16 in each request."""
    with live.client() as http:
        for first in range(0, count, 16):
            prompts = [[7 + number % 250, 7 + number // 250, 7, 8, 9] for number in range(first, first + 16)]
            body = {"model": "tiny", "max_tokens": 1, "prompt": prompts}
            assert http.post("/v1/completions", json=body).status_code == 200


@pytest.mark.parametrize(("ttl", "count"), [("5m", 1000), ("1h", 200)])
def test_a_flood_of_one_off_prompts_does_not_push_out_a_marked_prefix(small: Live, ttl: str, count: int) -> None:
    ask(small, "x", {**MARK, "ttl": ttl})
    marked = ask(small, "y")
    flood(small, count)
    assert ask(small, "z") == marked > 100


def test_without_a_mark_the_flood_pushes_it_out(small: Live) -> None:
    ask(small, "x")
    assert ask(small, "y") > 100
    flood(small, 200)
    assert ask(small, "z") < 10


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300), ("1h", 3600)])
def test_a_mark_lasts_as_long_as_it_says_after_each_use(small: Live, clock: Clock, ttl: str, seconds: int) -> None:
    ask(small, "x", {**MARK, "ttl": ttl})
    marked = ask(small, "y")
    for _ in range(2):
        clock.ahead += seconds - 60
        flood(small, 100)
        assert ask(small, "z") == marked
    clock.ahead += seconds
    flood(small, 100)
    assert ask(small, "z") < 10


def test_a_warmed_prefix_is_marked_too(small: Live) -> None:
    ask(small, "hi", MARK, max_tokens=0)
    flood(small, 200)
    assert ask(small, "z") > 100


def test_an_automatic_mark_on_the_result_of_a_tool(serve: Callable[..., Live]) -> None:
    live = serve(engine={"kv_cache_memory_bytes": 2**20 + 2**19, "max_num_seqs": 16})
    tools: Any = [{"name": "jump", "input_schema": {"type": "object"}}]
    turns: Any = [
        {"role": "user", "content": "jump"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "u1", "name": "jump", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u1", "content": SYSTEM}]},
    ]
    with anthropic_client(live) as client:
        create: Any = client.messages.create
        first = create(model="tiny", max_tokens=1, tools=tools, messages=turns, cache_control=MARK).usage
        flood(live, 300)
        turns += [{"role": "assistant", "content": "jumped"}, {"role": "user", "content": "again"}]
        again = create(model="tiny", max_tokens=1, tools=tools, messages=turns).usage
    assert again.cache_read_input_tokens >= first.cache_creation_input_tokens > 100


def test_a_mark_refreshes_earlier_ones_no_further_than_it_looks_back(small: Live, clock: Clock) -> None:
    for blocks, survives in ((18, True), (19, False)):  # with the system prompt and the mark's own block: 20, 21
        small.engine.reset_prefix_cache()
        ask(small, "x", {**MARK, "ttl": "1h"})
        clock.ahead += 3000
        content: Any = [{"type": "text", "text": "a"} for _ in range(blocks)]
        content.append({"type": "text", "text": "b", "cache_control": MARK})
        messages: Any = [{"role": "user", "content": content}]
        system: Any = [{"type": "text", "text": SYSTEM}]
        with anthropic_client(small) as client:
            later = client.messages.create(model="tiny", max_tokens=1, system=system, messages=messages)
        assert (later.usage.cache_read_input_tokens or 0) > 100  # that it is read does not depend on it
        clock.ahead += 900  # past the later mark's five minutes, and past an hour since the first one was made
        flood(small, 100)
        assert (ask(small, "z") > 100) == survives
