"""Images and the like, which no model here reads: refused with the way out, or, as the operator wants it, told in words."""

from collections.abc import Callable
from typing import Any

import pytest

from server.live import Live

DATA = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
USED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {}}]}
IN_RESULT = [
    {"role": "user", "content": "look at dot.png"},
    USED,
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": DATA}]}],
    },
]
CALLED = {"id": "c", "type": "function", "function": {"name": "Read", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "in a result of a tool": (
        "/v1/messages",
        {"max_tokens": 2, "messages": IN_RESULT, "tools": [{"name": "Read", "input_schema": {}}]},
    ),
    "a document": (
        "/v1/messages",
        {"max_tokens": 2, "messages": [{"role": "user", "content": [{"type": "document", "source": DATA, "title": "t"}]}]},
    ),
    "in a chat": (
        "/v1/chat/completions",
        {"max_tokens": 2, "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]}]},
    ),
    "of other kinds": (
        "/v1/chat/completions",
        {
            "max_tokens": 2,
            "messages": [
                {"role": "user", "content": [{"type": kind, kind: {"url": "data:,"}}, {"type": "text", "text": "look"}]}
                for kind in ("video_url", "audio_url")
            ],
        },
    ),
    "in a result of a function": (
        "/v1/chat/completions",
        {
            "max_tokens": 2,
            "messages": [
                {"role": "user", "content": "look"},
                {"role": "assistant", "content": None, "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c", "content": [PICTURE]},
            ],
        },
    ),
    "in an item": (
        "/v1/responses",
        {
            "max_output_tokens": 2,
            "input": [
                {"role": "user", "content": "look"},
                {"type": "function_call", "call_id": "c", "name": "view_image", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
                },
            ],
        },
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_image_is_refused_with_the_way_out(live: Live, name: str) -> None:
    path, body = BODIES[name]
    with live.client() as client:
        answer = client.post(path, json={"model": "tiny", **body})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "cannot be read by this model" in message
    assert "go back to before it came into the conversation" in message


@pytest.fixture
def describing(serve: Callable[..., Live]) -> Live:
    return serve(images="describe")


def test_where_the_operator_wants_it_the_conversation_goes_on(describing: Live) -> None:
    with describing.client() as client:
        for name, (path, body) in BODIES.items():
            answer = client.post(path, json={"model": "tiny", **body})
            assert answer.status_code == 200, f"{name}: {answer.text}"
            describing.settle()
            why = client.get(f"/v1/cache/explain/{answer.json()['id']}").json()
            assert "left out of the prompt: a" in why["detail"], name
        path, body = BODIES["in a result of a tool"]
        more = [*IN_RESULT, {"role": "assistant", "content": "A dot."}, {"role": "user", "content": "Sure?"}]
        usage = client.post(path, json={"model": "tiny", **body, "messages": more}).json()["usage"]
        assert usage["cache_read_input_tokens"] > 0.7 * (usage["cache_read_input_tokens"] + usage["input_tokens"])
        counted = client.post("/v1/messages/count_tokens", json={"model": "tiny", "messages": IN_RESULT})
        assert counted.status_code == 200
