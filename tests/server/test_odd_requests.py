"""What clients send that is odd, or asks for nothing: answered or refused by name, and never anybody else's trouble."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import transformers

from engine.tokenizers_for_text import byte_fallback
from foreword.engine import EngineConfig
from foreword.testing.tiny_models import TEMPLATE, write_model
from server.live import Live, live_server

USER = [{"role": "user", "content": "w"}]
COMPLETIONS, CHAT, RESPONSES, MESSAGES = "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Live]]:
    """Servers of a tiny model whose tokens are bytes and a few words; with or without a stripping decoder."""
    running: dict[bool, Any] = {}

    def serve(strip: bool) -> Live:
        if strip not in running:
            path = write_model(tmp_path_factory.mktemp("fallback"), "llama")
            fast = transformers.PreTrainedTokenizerFast(
                tokenizer_object=byte_fallback(strip), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
            )
            fast.chat_template = TEMPLATE
            fast.save_pretrained(path)
            config = EngineConfig(model=str(path), kv_cache_memory_bytes=2**23, self_test=False)
            manager = live_server(config, served_model_name="tiny")
            running[strip] = (manager, manager.__enter__())
        live: Live = running[strip][1]
        return live

    yield serve
    for manager, _ in running.values():
        manager.__exit__(None, None, None)


def post(live: Live, path: str, **body: Any) -> Any:
    with live.client() as client:
        answer = client.post(path, json={"model": "tiny", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_odd_bytes_end_nobody(fallback: Callable[[bool], Live]) -> None:
    live = fallback(False)
    for seed in range(6):
        post(live, COMPLETIONS, prompt="w", temperature=1.0, seed=seed, max_tokens=60, ignore_eos=True)
    with live.client() as client:
        assert client.get("/health").status_code == 200
    assert post(live, COMPLETIONS, prompt="w", max_tokens=1)["usage"]["completion_tokens"] == 1


def test_text_goes_on_where_the_prompt_ends(fallback: Callable[[bool], Live]) -> None:
    live = fallback(True)
    asked = {"prompt": " w1 w2", "max_tokens": 1, "temperature": 1.5, "ignore_eos": True}
    found = 0
    for seed in range(12):
        plain = post(live, COMPLETIONS, **asked, seed=seed)["choices"][0]["text"]
        echoed = post(live, COMPLETIONS, **asked, seed=seed, echo=True)["choices"][0]["text"]
        named = post(live, COMPLETIONS, **asked, seed=seed, logprobs=0)["choices"][0]["logprobs"]["tokens"]
        assert echoed == " w1 w2" + plain
        if plain.strip().startswith("w"):
            assert plain.startswith(" w")
            assert named == [plain]
            found += 1
    assert found


def test_log_probabilities_are_by_token_and_have_its_bytes(fallback: Callable[[bool], Live]) -> None:
    live = fallback(False)
    greedy = {"temperature": 0, "ignore_eos": True}
    logprobs = post(live, COMPLETIONS, prompt="w", max_tokens=8, logprobs=5, **greedy)["choices"][0]["logprobs"]
    for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True):
        assert len(top) == 5
        assert max(top, key=top.__getitem__) == token
    chat = post(
        live, CHAT, messages=[{"role": "user", "content": "w"}], max_tokens=12, logprobs=True, top_logprobs=5, **greedy
    )
    content = chat["choices"][0]["logprobs"]["content"]
    for entry in content:
        assert all(one["bytes"] != [239, 191, 189] for one in (entry, *entry["top_logprobs"]))
    whole = bytes(byte for entry in content for byte in entry["bytes"])
    assert whole.decode("utf-8", "replace") == chat["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": None},
        {"logit_bias": {}},
        {"logit_bias": None},
        {"functions": None},
        {"functions": []},
        {"function_call": None},
        {"prediction": None},
        {"best_of": 1},
        {"best_of": None},
        {"stop": ""},
        {"stop": []},
        {"top_p": 0},
        {"tools": []},
        {"tools": None},
        {"top_logprobs": 0},
        {"logprobs": False, "top_logprobs": 0},
        {"stream_options": {}},
        {"stream_options": {"include_usage": False}},
        {"echo": False},
        {"metadata": {}},
        {"audio": None},
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": None},
                {"role": "user", "content": "go"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "x", "reasoning_content": "y"},
                {"role": "user", "content": "go"},
            ]
        },
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]},
    ],
    ids=json.dumps,
)
def test_what_asks_for_nothing_is_taken(live: Live, fields: dict[str, Any]) -> None:
    post(live, CHAT, **{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, **fields})


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (RESPONSES, {"n": 1}),
        (RESPONSES, {"echo": False}),
        (RESPONSES, {"previous_response_id": ""}),
        (RESPONSES, {"stream_options": {"include_usage": True}}),
        (COMPLETIONS, {"tool_choice": "none"}),
        (COMPLETIONS, {"top_logprobs": 0}),
        (MESSAGES, {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x"]}),
    ],
)
def test_what_changes_no_answer_is_taken_elsewhere_too(live: Live, path: str, fields: dict[str, Any]) -> None:
    asks: dict[str, Any] = {
        RESPONSES: {"input": "hi", "max_output_tokens": 1},
        COMPLETIONS: {"prompt": "hi", "max_tokens": 1},
        MESSAGES: {"messages": USER, "max_tokens": 1},
    }
    post(live, path, **asks[path], **fields)


@pytest.mark.parametrize("limits", [(2, 5), (5, 2)])
def test_of_two_limits_both_are_kept(live: Live, limits: tuple[int, int]) -> None:
    fields = dict(zip(("max_tokens", "max_completion_tokens"), limits, strict=True))
    usage = post(live, CHAT, messages=USER, temperature=0, ignore_eos=True, **fields)["usage"]
    assert usage["completion_tokens"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        '"tools":[{"type":"function","name":"f","parameters":{"default":1e999}}]',
        '"tools":[{"type":"function","name":"f","parameters":{"default":NaN}}]',
        '"tools":[{"type":"function","name":"f","parameters":{"description":"\\ud83c"}}]',
        '"tools":[{"type":"function","name":"f","parameters":{"\\ud83c":1}}]',
        '"user":"\\ud83c"',
        '"prompt_cache_key":"\\udfff"',
        '"metadata":{"a":"\\ud83c"}',
        '"metadata":{"\\ud83c":"a"}',
        '"prompt_cache_options":{"comparison_response_id":"\\ud83c"}',
        '"temperature":1e-320',
    ],
)
def test_what_is_repeated_to_the_client_can_be_repeated(live: Live, fields: str) -> None:
    with live.client() as client:
        body = f'{{"model":"tiny","max_output_tokens":1,"input":"hi",{fields}}}'
        for stream in ("", ',"stream":true'):
            answer = client.post(RESPONSES, content=body[:-1] + stream + "}", headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400), answer.text
            assert "server_error" not in answer.text
