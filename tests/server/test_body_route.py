"""Long bodies are read beside the event loop: with the same words for what is wrong, and so that others go on."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from pydantic import BaseModel, field_validator

from foreword.sampling_params import SamplingParams
from foreword.server.anthropic import messages
from foreword.server.anthropic.schema import MessagesBody
from foreword.server.body import TopBody
from foreword.server.body_route import BodyRoute, checked
from foreword.server.body_shape import AT_ONCE
from foreword.server.http import Caller
from foreword.server.openai import chat
from foreword.server.openai.schema import ChatBody
from foreword.server.reading_thread import ReadingThread
from server.live import Live

LONG = "x" * AT_ONCE
PATHS = {"/v1/chat/completions": "messages", "/v1/messages": "messages", "/v1/responses": "input"}
FAULTS: tuple[Any, ...] = (
    {"role": "user", "content": 7},
    {"role": "user", "content": [{"type": "text", "text": 7}]},
    {"role": "user", "content": [{"type": "image", "text": "a"}]},
    {"role": "nobody", "content": "a"},
    {"role": "user", "content": "a", "odd": 1},
    {"role": "user"},
    7,
)


class Read(BaseModel):
    """A body that tells who checked it."""

    text: str

    @field_validator("text")
    @classmethod
    def _by(cls, given: str) -> str:
        if given.endswith("fault"):
            raise TypeError
        if given.endswith("status"):
            raise HTTPException(418)
        return threading.current_thread().name


def reader(thread: ReadingThread) -> TestClient:
    """An app with one route, which tells in which thread a body was checked."""
    app = FastAPI()
    app.state.parts = SimpleNamespace(reading=thread)
    app.router.route_class = BodyRoute

    @app.post("/", response_model=None)
    async def read(body: Read) -> Response:
        return Response(body.text)

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(("text", "aside"), [("short", False), (LONG, True)])
def test_a_long_body_is_checked_in_the_thread_that_reads(text: str, aside: bool) -> None:
    thread = ReadingThread()
    with reader(thread) as client:
        assert client.post("/", json={"text": text}).text.startswith("foreword-bodies") is aside
        assert client.post("/", json={"text": text + "fault"}).status_code == 500
        assert client.post("/", json={"text": text + "status"}).status_code == 418
        assert client.post("/", json={"text": 7, "more": text}).status_code == 422
        assert client.post("/", content=json.dumps({"text": text})[:-1]).status_code == 422
    thread.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", PATHS)
def test_a_long_body_is_refused_in_the_words_of_a_short_one(shared_live: Live, path: str, fault: Any) -> None:
    def told(text: str) -> tuple[int, str]:
        said = [{"role": "user", "content": text}, fault, {"role": "user", "content": "b"}]
        with shared_live.client() as client:
            answer = client.post(path, json={"model": "tiny", "max_tokens": 1, PATHS[path]: said})
        return answer.status_code, answer.json()["error"]["message"]

    assert told(LONG) == told("a")
    assert told(LONG)[0] == 400


@pytest.mark.parametrize("path", [*PATHS, "/v1/completions", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    "change", [lambda text: text[:-1], lambda text: f"[{text}]", lambda text: text[:-1] + b', "od": 1}']
)
def test_what_is_no_body_is_named_alike(shared_live: Live, path: str, change: Callable[[Any], Any]) -> None:
    def told(text: str) -> str:
        body = {"model": text, "max_tokens": 1, "messages": [], "input": "a", "prompt": "a"}
        with shared_live.client() as client:
            raw = change(json.dumps(body).encode())
            answer = client.post(path, content=raw, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        return str(answer.json()["error"]["message"])

    assert told(LONG) == told("tiny")


def test_a_long_body_keeps_what_was_passed_over() -> None:
    given = {"model": "a", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}], "metadata": {"user_id": "b"}}
    body = checked(MessagesBody, given)
    assert isinstance(body, MessagesBody)
    assert body.passed_over
    assert MessagesBody.model_validate(body) is body
    assert body.passed_over


def test_of_many_faults_the_first_that_lies_deepest_is_told() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": 7}]}] * 3
    with pytest.raises(RequestValidationError) as raised:
        checked(MessagesBody, {"model": 5, "max_tokens": 1, "messages": said})
    (fault,) = raised.value.errors()
    assert fault["loc"] == ("body", "messages", 0, "content", 0, "text", "text")


WHO = Caller("public", "0" * 32)
PARTS = [{"type": "text", "text": "part"}] * 4
SAID = [{"role": role, "content": PARTS} for _ in range(3999) for role in ("user", "assistant")] + [
    {"role": "user", "content": "x"}
]
SCHEMA = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(5)}}
MESSAGES = {"model": "a", "max_tokens": 1, "messages": SAID}
TOOLS = {"model": "a", "max_tokens": 1, "messages": SAID[-1:]}
LARGE: list[tuple[type[TopBody], Any, dict[str, Any]]] = [
    (ChatBody, chat.neutral_request, MESSAGES),
    (MessagesBody, messages.neutral_request, MESSAGES),
    (
        ChatBody,
        chat.neutral_request,
        {
            **TOOLS,
            "tools": [
                {"type": "function", "function": {"name": f"t{number}", "parameters": SCHEMA}} for number in range(5000)
            ],
        },
    ),
    (
        MessagesBody,
        messages.neutral_request,
        {**TOOLS, "tools": [{"name": f"t{number}", "input_schema": SCHEMA} for number in range(5000)]},
    ),
]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system does not tell of a thread's time")
@pytest.mark.parametrize(("kind", "read", "given"), LARGE)
def test_the_largest_bodies_let_others_go_on(kind: type[TopBody], read: Any, given: dict[str, Any]) -> None:
    """By the reading thread's CPU time between two turns of the event loop: what else the machine does is no matter."""

    async def longest() -> float:
        thread = ReadingThread()
        clock = time.pthread_getcpuclockid(await thread.run(threading.get_ident))
        raw = json.dumps(given)

        def work() -> None:
            read(checked(kind, json.loads(raw)), WHO, SamplingParams())

        going = asyncio.ensure_future(thread.run(work))
        worst, last = 0.0, time.clock_gettime(clock)
        while not going.done():
            await asyncio.sleep(0)
            now = time.clock_gettime(clock)
            worst, last = max(worst, now - last), now
        await going
        thread.close()
        return worst

    gc.collect()
    gc.freeze()  # as the server does with what was loaded
    try:
        assert asyncio.run(longest()) < 0.25
    finally:
        gc.unfreeze()
