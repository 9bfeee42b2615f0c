"""What every endpoint does with rubbish, and that the next request works."""

import itertools
import json
from typing import Any

import httpx2
import pytest

from foreword.engine.runner import Step
from foreword.server.event_stream import event
from server.live import Live

CHAT = "/v1/chat/completions"
PATHS = [CHAT, "/v1/completions", "/v1/responses", "/v1/responses/input_tokens", "/v1/messages", "/v1/messages/count_tokens"]
ASKED: dict[str, Any] = {"model": "tiny", "prompt": "the quick brown fox", "max_tokens": 4}
JSON = {"content-type": "application/json"}


def check_refused(answer: httpx2.Response, path: str, status: int = 400) -> None:
    """The vendor's own shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if path.startswith("/v1/messages"):
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "message"}
    else:
        assert {"message", "type", "param", "code"} <= set(body["error"])
    assert body["error"]["message"]
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"{}",
        b'{"model": "tiny"',
        b'{"model": 5}',
        b"\xff\xfe\x00",
        b'{"model": "\xff"}',
        b"[" * 100_000,
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 2}',
        b'{"model": "tiny", "messages": "x", "max_tokens": NaN}',
        b'{"model": "tiny", "input": "x", "prompt": "x", "messages": [], "max_tokens": 1e999}',
    ],
)
def test_rubbish_is_refused_in_the_vendors_shape(live: Live, path: str, content: bytes) -> None:
    with live.client() as client:
        check_refused(client.post(path, content=content, headers=JSON), path)
        assert client.post("/v1/completions", json=ASKED).status_code == 200
    assert all(entry["event"] != "failure" for entry in live.log())


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_not_said_to_be_json_is_refused(live: Live, path: str) -> None:
    with live.client() as client:
        check_refused(client.post(path, content=b'{"model": "tiny"}', headers={"content-type": "text/plain"}), path)


def test_unknown_paths_and_methods(live: Live) -> None:
    with live.client() as client:
        check_refused(client.get("/v1/nothing"), "", 404)
        check_refused(client.get("/v1/messages/nothing"), "/v1/messages", 404)
        check_refused(client.get(CHAT), CHAT, 405)
        check_refused(client.delete("/v1/messages"), "/v1/messages", 405)


@pytest.mark.parametrize("text", ["\x00", "\u202e", "💥" * 50, "</s><s>", "{{ 7 * 7 }}", "a" * 3000])
def test_strange_texts_are_just_text(live: Live, text: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 2}
    with live.client() as client:
        answer = client.post(CHAT, json=body)
        assert answer.status_code in (200, 400)
        if answer.status_code == 400:
            assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_error_in_mid_stream_is_the_streams_last_event(live: Live) -> None:
    steps = itertools.count(1)

    def fail_third(_: Step) -> None:
        if next(steps) == 3:
            raise RuntimeError("planted")

    with live.before_steps(fail_third), live.client() as client:
        text = client.post("/v1/completions", json={**ASKED, "max_tokens": 9, "ignore_eos": True, "stream": True}).text
    events = text.strip().split("\n\n")
    assert "RuntimeError" in events[-1]
    assert '"type":"server_error"' in events[-1]
    assert "[DONE]" not in text
    with live.client() as client:
        assert client.post("/v1/completions", json=ASKED).status_code == 200


def test_health_and_openapi_need_nothing(live: Live) -> None:
    with live.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        paths = client.get("/openapi.json").json()["paths"]
        assert set(PATHS) <= set(paths)


def test_an_event_is_one_line_for_every_reader_of_lines() -> None:
    """Some clients split lines as str.splitlines does, also at characters that JSON may hold as they are."""
    text = "".join(map(chr, (*range(0xA0), 0x2028, 0x2029)))
    name, data, *rest = event({"text": text}, "delta").decode().splitlines()
    assert (name, rest) == ("event: delta", [""])
    assert json.loads(data.removeprefix("data: ")) == {"text": text}
