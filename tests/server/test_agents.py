"""What Claude Code and Codex send, as they send it: two requests of a conversation, a tool between them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foreword.engine import EngineConfig
from foreword.testing.tiny_models import write_model
from server.live import Live, live_server

DATA = Path(__file__).parent / "data"
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
SHARE = 5
"""Of a text that was taken out, every fifth word is put in again."""
TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def filled(part: Any) -> Any:
    """A body with filler where a text was taken out: ``~300`` stands for 300 characters."""
    if isinstance(part, str) and (length := re.fullmatch(r"~(\d+)", part)):
        return " ".join(WORDS[place % len(WORDS)] for place in range(1 + int(length[1]) // (5 * SHARE)))
    if isinstance(part, list):
        return [filled(each) for each in part]
    return {name: filled(each) for name, each in part.items()} if isinstance(part, dict) else part


@pytest.fixture(scope="module")
def long_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of a tiny model with room for agents, under their names."""
    path = write_model(tmp_path_factory.mktemp("long"), "llama", max_position_embeddings=2**16)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    config = EngineConfig(model=str(path), kv_cache_memory_bytes=2**26, self_test=False)
    with live_server(config, served_model_names=("tiny", "claude-*")) as live:
        yield live


def cached(usage: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a prompt, and those of them that were read from the cache."""
    if "cache_read_input_tokens" in usage:
        read = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + usage["cache_creation_input_tokens"] + read, read
    return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize(("agent", "limit"), [("claude_code", "max_tokens"), ("codex", "max_output_tokens")])
def test_an_agents_conversation_goes_through_and_reads_what_was_there(long_context: Live, agent: str, limit: str) -> None:
    told = json.loads((DATA / f"{agent}.json").read_text())
    first = {**filled(told["body"]), limit: 2, "stream": False}
    usages = []
    with long_context.client() as client:
        for body in (first, {**first, **filled(told["second"])}):
            answer = client.post(told["path"], json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == "tiny"
            usages.append(cached(answer.json()["usage"]))
    (before, _), (after, read) = usages
    assert after > before > 1000
    assert read >= 0.98 * before, "but for the first turn's end, where a mark for the answer's beginning may stand"


@pytest.mark.parametrize(("agent", "limit"), [("claude_code", "max_tokens"), ("codex", "max_output_tokens")])
def test_an_agents_stream_ends_as_it_should(long_context: Live, agent: str, limit: str) -> None:
    told = json.loads((DATA / f"{agent}.json").read_text())
    with long_context.client() as client:
        text = client.post(told["path"], json={**filled(told["body"]), limit: 2}).text
    names = re.findall(r"^event: (.*)$", text, re.MULTILINE)
    assert names[0] in ("message_start", "response.created")
    assert names[-1] in ("message_stop", "response.completed", "response.incomplete")


def test_what_is_not_used_is_told_once_a_field(serve: Callable[..., Live]) -> None:
    live = serve()
    body = {"model": "tiny", "input": "hi", "max_output_tokens": 1, "client_metadata": {"a": "b"}, "truncation": "auto"}
    with live.client() as client:
        for _ in range(3):
            tools = [{"type": "web_search"}, {"type": "custom", "name": "patch"}]
            assert client.post("/v1/responses", json={**body, "tools": tools}).status_code == 200
    lines = [line["field"] for line in live.log() if line["event"] == "not used"]
    assert sorted(lines) == ["client_metadata", "tools of type 'custom'", "tools of type 'web_search'", "truncation"]
    assert all("hi" not in line for line in lines)


def test_a_model_has_the_names_that_agents_ask_for(serve: Callable[..., Live]) -> None:
    live = serve(served_model_name=None, served_model_names=("tiny", "claude-*"))
    message = {"max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    with live.client() as client:
        answer = client.post("/v1/messages", json={**message, "model": "claude-haiku-4-5-20251001"}).json()
        assert answer["model"] == "claude-haiku-4-5-20251001"
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny", "claude-*"]
        assert client.get("/v1/models/claude-opus").json()["id"] == "claude-opus"
        for path, field in (("/v1/messages", None), ("/v1/chat/completions", "model_not_found")):
            unknown = client.post(path, json={**message, "model": "claude"})
            assert unknown.status_code == 404
            assert "this server has 'tiny', 'claude-*'" in unknown.json()["error"]["message"]
            assert unknown.json()["error"].get("code") == field
