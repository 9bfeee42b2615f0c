"""What a server refuses: too much, too many, too slow, too late."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import httpx2
import pytest

from foreword.engine.runner import Step
from foreword.prompt.chat import ChatPrompt, Message, text_blocks
from foreword.server.tenants import load_tenants
from server.live import Live

ASKED: dict[str, Any] = {"model": "tiny", "prompt": "the quick brown fox", "max_tokens": 4, "temperature": 0}
LONG: dict[str, Any] = {**ASKED, "max_tokens": 900, "ignore_eos": True}


def works(live: Live) -> None:
    """An ordinary request is answered."""
    with live.client() as client:
        assert client.post("/v1/completions", json=ASKED).status_code == 200


def raw(live: Live, head: str, body: bytes = b"") -> bytes:
    """Send bytes as they are; what comes back until the server closes."""
    address = live.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as connection:
        connection.settimeout(60)
        answer = b""
        with contextlib.suppress(ConnectionError):  # the server may close before all is sent
            connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + body)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


@pytest.fixture
def held(serve: Callable[..., Live]) -> Iterator[Callable[..., tuple[Live, threading.Event]]]:
    """A server whose engine does no step until the event is set."""
    events: list[threading.Event] = []

    def start(**options: Any) -> tuple[Live, threading.Event]:
        live, go_on = serve(**options), threading.Event()
        events.append(go_on)
        live.runner.before = lambda _: go_on.wait(60)
        return live, go_on

    yield start
    for event in events:
        event.set()


def in_background(
    live: Live, bodies: list[dict[str, Any]], key: str = ""
) -> tuple[list[threading.Thread], list[httpx2.Response]]:
    answers: list[httpx2.Response] = []

    def ask(body: dict[str, Any]) -> None:
        with live.client(headers={"x-api-key": key} if key else {}) as client:
            answers.append(client.post("/v1/completions", json=body))

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    return threads, answers


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def slowly(_: Step) -> None:
    """Before a step: an answer takes its time, so that something can happen before its end."""
    time.sleep(0.05)


def test_a_body_above_the_limit_is_refused_before_it_is_read(serve: Callable[..., Live]) -> None:
    live = serve(max_body_bytes=1000)
    answer = raw(live, "POST /v1/completions HTTP/1.1\nhost: x\nconnection: close\ncontent-length: 100000000\n\n")
    assert b"413" in answer.splitlines()[0]
    assert b'"code":"request_too_large"' in answer
    with live.client() as client:
        chunked = client.post("/v1/messages", content=iter([b"x" * 600, b"x" * 600]))
        assert (chunked.status_code, chunked.json()["error"]["type"]) == (413, "request_too_large")
    works(live)


def test_a_body_of_100_mb_is_refused(live: Live) -> None:
    # the server may have answered and closed before all is sent
    with live.client() as client, contextlib.suppress(httpx2.WriteError):
        assert client.post("/v1/chat/completions", content=b"x" * 100_000_000).status_code == 413
    works(live)


def test_a_body_that_does_not_come_is_given_up(serve: Callable[..., Live]) -> None:
    live = serve(body_timeout=1.0)
    answer = raw(live, "POST /v1/completions HTTP/1.1\nhost: x\nconnection: close\ncontent-length: 10\n\n", b"{")
    assert b"408" in answer.splitlines()[0]
    works(live)


FLOODS = {
    "many headers": "GET {path} HTTP/1.1\nhost: x\n"
    + "".join(f"x-{number}: {'x' * 1000}\n" for number in range(200))
    + "\n",
    "a header that does not end": "GET {path} HTTP/1.1\nhost: x\nx: " + "x" * 200_000,
    "a long address": "GET {path}?" + "x" * 100_000 + " HTTP/1.1\nhost: x\n\n",
    "many trailers": "POST {path} HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n2\n[]\n0\n"
    + f"x: {'x' * 1000}\n" * 200
    + "\n",
    "a trailer that does not end": "POST {path} HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n2\n[]\n0\nx: "
    + "x" * 200_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize(("path", "kind"), [("/v1/messages", "anthropic"), ("/v1/completions", "openai")])
def test_a_head_without_end_is_refused_in_the_vendors_shape(live: Live, path: str, kind: str, flood: str) -> None:
    check_unreadable(raw(live, flood.replace("{path}", path)), 431, kind)
    works(live)


def test_what_is_not_http_is_refused(live: Live) -> None:
    check_unreadable(raw(live, "HELLO\n\n"), 400, "openai")
    check_unreadable(raw(live, "POST /v1/messages HTTP/1.1\nhost: x\ncontent-length: many\n\n"), 400, "anthropic")
    assert b"404" in raw(live, "OPTIONS * HTTP/1.1\nhost: x\nconnection: close\n\n").splitlines()[0]
    works(live)


def check_unreadable(answer: bytes, status: int, kind: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    headers = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:])
    assert int(headers[b"content-length"]) == len(body)
    assert len(headers[b"x-request-id"]) == 32
    error = json.loads(body)
    assert error["error"]["message"]
    assert (error.get("type") == "error") is (kind == "anthropic")
    assert ("param" in error["error"]) is (kind == "openai")


def test_a_large_head_within_the_bound_is_taken(live: Live) -> None:
    with live.client() as client:
        assert client.get("/v1/models", headers={f"x-{number}": "x" * 1000 for number in range(60)}).status_code == 200


def test_an_answer_under_way_is_cut_and_not_mixed_with_a_refusal(live: Live) -> None:
    content = json.dumps({**LONG, "stream": True}).encode()
    address = live.url.removeprefix("http://").split(":")
    with live.before_steps(slowly), socket.create_connection((address[0], int(address[1]))) as connection:
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + content)
        answer = connection.recv(1000)
        connection.sendall(b"HELLO\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
    assert answer.count(b"HTTP/1.1") == 1
    assert b"[DONE]" not in answer
    wait_for(lambda: not live.service.open_requests)
    works(live)


def test_a_full_queue_says_when_to_come_back(held: Any) -> None:
    live, go_on = held(engine={"max_num_seqs": 2}, max_queue=1)
    threads, answers = in_background(live, [ASKED] * 3)
    wait_for(lambda: live.service.open_requests == 3)
    with live.client() as client:
        refused = client.post("/v1/completions", json=ASKED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        anthropic = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "fox"}]}
        refused = client.post("/v1/messages", json=anthropic)
        assert (refused.status_code, refused.json()["error"]["type"]) == (529, "overloaded_error")
        assert int(refused.headers["retry-after"]) >= 1
    go_on.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    works(live)
    live.settle()


def test_a_burst_does_not_get_past_the_queue(held: Any) -> None:
    """Also while the prompts of those before are still being rendered."""
    live, go_on = held(engine={"max_num_seqs": 2}, max_queue=2)
    threads, answers = in_background(live, [ASKED] * 16)
    wait_for(lambda: len(answers) == 12)
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 12
    live.settle()
    threads, answers = in_background(live, [ASKED] * 4)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 4, "all the room is there again"


def test_n_counts_against_the_queue(held: Any) -> None:
    live, _ = held(engine={"max_num_seqs": 2}, max_queue=1)
    with live.client() as client:
        assert client.post("/v1/completions", json={**ASKED, "n": 4, "temperature": 1}).status_code == 429


def test_each_key_has_its_own_share_of_open_requests(held: Any) -> None:
    tenants = load_tenants(None, {"FOREWORD_API_KEYS": "alice:key-a,bob:key-b"})
    live, go_on = held(tenants=tenants, max_requests_per_key=2)
    threads, answers = in_background(live, [ASKED] * 2, "key-a")
    wait_for(lambda: live.service.open_requests == 2)
    with live.client(headers={"x-api-key": "key-a"}) as client:
        refused = client.post("/v1/completions", json=ASKED)
        assert refused.status_code == 429
        assert "2 requests of this API key" in refused.json()["error"]["message"]
        anthropic = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "fox"}]}
        refused = client.post("/v1/messages", json=anthropic)
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error"), "the server has room"
    more, answered = in_background(live, [ASKED], "key-b")
    wait_for(lambda: live.service.open_requests == 3)
    go_on.set()
    for thread in [*threads, *more]:
        thread.join()
    assert [answer.status_code for answer in answers + answered] == [200] * 3
    with live.client(headers={"x-api-key": "key-a"}) as client:
        assert client.post("/v1/completions", json=ASKED).status_code == 200


def test_a_request_that_takes_too_long_ends_and_frees_its_blocks(held: Any) -> None:
    live, go_on = held(request_timeout=0.2)
    with live.client() as client:
        answer = client.post("/v1/completions", json=LONG)
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "server_error")
    go_on.set()
    live.settle()


def test_a_prompt_above_the_servers_limit_is_refused(serve: Callable[..., Live]) -> None:
    live = serve(max_prompt_tokens=20)
    with live.client() as client:
        answer = client.post("/v1/completions", json={**ASKED, "prompt": "x" * 100})
        assert answer.status_code == 400
        assert "maximum context length is 20 tokens" in answer.json()["error"]["message"]
    works(live)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_a_client_that_leaves_frees_its_blocks(live: Live, path: str, stream: bool) -> None:
    message = [{"role": "user", "content": "fox"}]
    body: dict[str, Any] = {
        "/v1/completions": LONG,
        "/v1/chat/completions": {"model": "tiny", "messages": message, "max_tokens": 900, "ignore_eos": True},
        "/v1/responses": {"model": "tiny", "input": "fox", "max_output_tokens": 900, "temperature": 0},
        "/v1/messages": {"model": "tiny", "messages": message, "max_tokens": 900, "temperature": 0},
    }[path]
    taken = threading.Event()

    def slow(step: Step) -> None:
        taken.set()
        slowly(step)

    with live.before_steps(slow):
        content = json.dumps({**body, "stream": stream}).encode()
        address = live.url.removeprefix("http://").split(":")
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(head.encode() + content)
            assert taken.wait(30)
            if stream:
                assert connection.recv(100)
        wait_for(lambda: not live.service.open_requests)
    live.settle()
    assert live.log()[-1]["outcome"] == "abort"


class Held(Mapping[str, Any]):
    """Nothing, told once the event is set. ``asked``: somebody waits for it."""

    def __init__(self, go_on: threading.Event):
        self.asked, self._go_on = threading.Event(), go_on

    def __iter__(self) -> Iterator[str]:
        self.asked.set()
        self._go_on.wait(60)
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)


@pytest.mark.parametrize("busy", ["reading bodies", "making prompts"])
def test_a_client_that_leaves_while_its_tokens_are_counted_gives_its_place_back(
    serve: Callable[..., Live], busy: str
) -> None:
    live, go_on = serve(max_requests_per_key=1), threading.Event()
    parts, held = live.server.parts, Held(go_on)
    other = ChatPrompt((Message("user", text_blocks("fox")),), template_options=held)
    kinds_of_work: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "reading bodies": lambda: parts.reading.run(lambda: list(held)),
        "making prompts": lambda: parts.prompts.render(other, find_public_part=True),
    }
    thread = threading.Thread(target=lambda: asyncio.run(kinds_of_work[busy]()))
    thread.start()
    path, short = "/v1/messages/count_tokens", {"model": "tiny", "messages": [{"role": "user", "content": "fox"}]}
    content = json.dumps({**short, "system": "fox " * 20_000}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    host, port = live.url.removeprefix("http://").split(":")
    try:
        assert held.asked.wait(30)
        with live.client() as client:
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head.encode() + content)
                wait_for(lambda: client.post(path, json=short).status_code == 429)
            wait_for(lambda: client.post(path, json=short).status_code == 200)
        assert thread.is_alive(), "it was still waiting when it was dropped"
    finally:
        go_on.set()
        thread.join()
    works(live)


def test_a_reader_that_does_not_read_is_given_up_and_holds_nothing(held: Any) -> None:
    """Its answer, with the likeliest tokens told, is larger than all buffers on the way."""
    live, go_on = held(send_timeout=0.3, max_requests_per_key=1)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "fox"}],
        "max_tokens": 900,
        "ignore_eos": True,
        "n": 4,
        "logprobs": True,
        "top_logprobs": 20,
        "stream": True,
    }
    content = json.dumps(body).encode()
    address = live.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connection:
        connection.connect((address[0], int(address[1])))
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            + f"content-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        wait_for(lambda: bool(live.service.open_requests))
        with live.client() as client:
            assert client.post("/v1/completions", json=ASKED).status_code == 429
            go_on.set()
            wait_for(lambda: client.post("/v1/completions", json=ASKED).status_code == 200)
    live.settle()


def test_shutting_down_answers_what_is_open_and_refuses_what_is_new(held: Any) -> None:
    live, go_on = held(drain_timeout=20.0)
    threads, answers = in_background(live, [ASKED] * 2)
    wait_for(lambda: live.service.open_requests == 2)
    live.server.should_exit = True
    wait_for(lambda: live.service.unavailable is not None)
    with live.client() as client:
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        assert client.post("/v1/completions", json=ASKED).status_code == 503
    go_on.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]


def test_shutting_down_ends_what_takes_too_long_with_an_error(held: Any) -> None:
    live, go_on = held(drain_timeout=0.2)
    threads, answers = in_background(live, [LONG])
    wait_for(lambda: live.service.open_requests == 1)
    live.server.should_exit = True
    wait_for(lambda: live.service.unavailable is not None)
    time.sleep(0.5)
    go_on.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [503]
    assert "shutting down" in answers[0].text


def test_a_dead_engine_is_told_to_everyone(held: Any) -> None:
    live, go_on = held()

    def die(_: Step) -> None:
        go_on.wait(60)
        raise SystemExit("planted")

    live.runner.before = die
    threads, answers = in_background(live, [ASKED] * 3)
    wait_for(lambda: live.service.open_requests >= 1)

    async def read_stream() -> str:
        async with httpx2.AsyncClient(base_url=live.url, timeout=60) as client:
            asking = asyncio.ensure_future(client.post("/v1/completions", json={**ASKED, "stream": True}))
            await asyncio.sleep(0.2)
            go_on.set()
            return (await asking).text

    assert "SystemExit" in asyncio.run(read_stream())
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [503] * 3
    with live.client() as client:
        assert client.get("/ready").status_code == client.get("/health").status_code == 503
        refused = client.post("/v1/completions", json=ASKED)
        assert refused.status_code == 503
        assert "The engine has died: SystemExit." in refused.json()["error"]["message"]
        refused = client.post(
            "/v1/messages", json={"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "fox"}]}
        )
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "overloaded_error")
        assert b"foreword_engine_up" in client.get("/metrics").content
