"""What the model's files recommend is what a request is sampled with where it says nothing, at every endpoint."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foreword.engine import EngineConfig, SamplingParams
from foreword.engine.runner import Step
from foreword.testing.tiny_models import write_model
from server.live import Live, live_server

RECOMMENDED = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1, "do_sample": True}
USER = [{"role": "user", "content": "hi"}]
ASKED = [
    ("/v1/chat/completions", {"messages": USER, "max_tokens": 1}),
    ("/v1/completions", {"prompt": "hi", "max_tokens": 1}),
    ("/v1/responses", {"input": "hi", "max_output_tokens": 1}),
    ("/v1/messages", {"messages": USER, "max_tokens": 1}),
]


@pytest.fixture(scope="module")
def recommending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_model(tmp_path_factory.mktemp("recommends"), "llama")
    file = path / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **RECOMMENDED}))
    return path


@pytest.fixture(scope="module")
def advised(recommending: Path) -> Iterator[Live]:
    config = EngineConfig(model=str(recommending), kv_cache_memory_bytes=2**23, self_test=False)
    with live_server(config, served_model_name="tiny") as live:
        yield live


def sampled_with(live: Live, path: str, **body: Any) -> tuple[SamplingParams, Any]:
    """The parameters with which the engine sampled, and the answer."""
    seen: list[SamplingParams] = []

    def look(step: Step) -> None:
        seen.extend(chunk.sampling.params for chunk in step.chunks if chunk.sampling is not None)

    with live.before_steps(look), live.client() as client:
        answer = client.post(path, json={"model": "tiny", **body})
    assert answer.status_code == 200, answer.text
    return seen[0], answer.json()


@pytest.mark.parametrize(("path", "body"), ASKED, ids=lambda part: part if isinstance(part, str) else "")
def test_they_hold_where_a_request_says_nothing(advised: Live, path: str, body: dict[str, Any]) -> None:
    used, answer = sampled_with(advised, path, **body)
    assert (used.temperature, used.top_p, used.top_k, used.repetition_penalty) == (0.6, 0.95, 20, 1.1)
    if path == "/v1/responses":
        assert (answer["temperature"], answer["top_p"]) == (0.6, 0.95)
    again, _ = sampled_with(advised, path, **body, temperature=None, top_p=None)
    assert (again.temperature, again.top_p) == (0.6, 0.95)


@pytest.mark.parametrize(("path", "body"), ASKED, ids=lambda part: part if isinstance(part, str) else "")
def test_a_request_that_says_something_has_that(advised: Live, path: str, body: dict[str, Any]) -> None:
    used, answer = sampled_with(advised, path, **body, temperature=0, top_p=1)
    assert (used.temperature, used.top_p, used.top_k) == (0, 1, 20)
    if path == "/v1/responses":
        assert (answer["temperature"], answer["top_p"]) == (0, 1)


def test_switched_off_they_are_those_of_the_apis(recommending: Path, serve: Callable[..., Live]) -> None:
    live = serve(engine={"model": str(recommending), "generation_config": "none"})
    for path, body in ASKED:
        used, answer = sampled_with(live, path, **body)
        assert (used.temperature, used.top_p, used.top_k, used.repetition_penalty) == (1, 1, 0, 1)
        if path == "/v1/responses":
            assert (answer["temperature"], answer["top_p"]) == (1, 1)
