"""Streams while nothing comes, and where they end."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from foreword.engine.runner import Step
from foreword.server.event_stream import COMMENT, EventStream
from foreword.serving.config import ServerConfig
from server.live import Live

USER = [{"role": "user", "content": "hi"}]
STREAMS: list[tuple[str, dict[str, Any], bytes]] = [
    ("/v1/chat/completions", {"messages": USER, "max_tokens": 2}, b": "),
    ("/v1/completions", {"prompt": "hi", "max_tokens": 2}, b": "),
    ("/v1/responses", {"input": "hi", "max_output_tokens": 2}, b": "),
    ("/v1/messages", {"messages": USER, "max_tokens": 2}, b"event: ping\n"),
]


@pytest.mark.parametrize(("path", "body", "ping"), STREAMS)
def test_a_stream_shows_life_while_the_engine_is_in_a_step(
    serve: Callable[..., Live], path: str, body: dict[str, Any], ping: bytes
) -> None:
    live, go_on = serve(ping_seconds=0.05), threading.Event()

    def wait(_: Step) -> None:
        assert go_on.wait(120)

    with live.before_steps(wait), live.client() as client:
        with client.stream("POST", path, json={"model": "tiny", "stream": True, **body}) as answer:
            assert answer.status_code == 200
            seen = b""
            for piece in answer.iter_raw():
                seen += piece
                if seen.count(ping) >= 3:
                    go_on.set()
        assert go_on.is_set()
        assert b"error" not in seen.replace(b'"error":null', b"")


def test_a_stream_in_which_events_come_needs_no_signs_of_life() -> None:
    sent: list[bytes] = []

    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    closed: list[bool] = []
    stream = EventStream(events(), lambda: closed.append(True), ServerConfig(ping_seconds=30.0))
    asyncio.run(stream({"type": "http"}, receive, send))
    assert b"".join(sent) == b"012"
    assert COMMENT not in sent
    assert closed == [True]


def test_an_answer_to_http_1_0_is_not_in_chunks(live: Live) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    body = b'{"model": "tiny", "prompt": "hi", "max_tokens": 3, "stream": true}'
    head = f"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head_of_answer, _, events = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head_of_answer.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


def test_whole_answers_to_http_1_0_have_their_length(live: Live) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.endswith(b'{"status":"ok"}')
    assert b"content-length: 15" in answer


ORIGIN = "https://app.example.com"


def test_pages_of_allowed_origins_may_ask_and_no_others(serve: Callable[..., Live]) -> None:
    live = serve(allow_origins=(ORIGIN,))
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with live.client() as client:
        asked = client.options("/v1/chat/completions", headers={"origin": ORIGIN, **asks})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in asked.headers["access-control-allow-headers"]
        assert client.get("/v1/models", headers={"origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
        other = client.options("/v1/chat/completions", headers={"origin": "https://evil.example.com", **asks})
        assert "access-control-allow-origin" not in other.headers


def test_without_the_option_no_page_of_elsewhere_may_read_an_answer(live: Live) -> None:
    with live.client() as client:
        answer = client.get("/v1/models", headers={"origin": "http://localhost:3000"})
        assert "access-control-allow-origin" not in answer.headers
