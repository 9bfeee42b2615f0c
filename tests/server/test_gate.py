"""What every request passes: keys, room, the size and the time of its body; and faults of ours."""

import asyncio
import io
from collections.abc import Iterable
from typing import Any

import httpx2
import pytest

from foreword.server.build import make_server
from foreword.server.server import Server
from foreword.server.tenants import Tenants, load_tenants
from foreword.serving.config import ServerConfig
from foreword.serving.log import make_log
from serving.fake_front import FakeFront, lines

KEYS = load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"})
ASKED: dict[str, Any] = {"model": "fake", "prompt": "the fox"}
PATH = "/v1/completions"


class Desk:
    """An app over a fake engine that answers at once."""

    def __init__(self, tenants: Tenants = KEYS, **options: Any):
        self.front, self.log = FakeFront(), io.StringIO()
        self.front.answers = "fox"
        self.server: Server = make_server(self.front, ServerConfig(**options), tenants, make_log(self.log))
        self.app: Any = self.server.config.app

    def client(self, key: str | None = "a") -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"x-api-key": key} if key else {})

    def run(self, test: Any) -> None:
        asyncio.run(test(self))

    def counted(self, status: int) -> bool:
        line = f'foreword_refused_requests_total{{model_name="fake",status="{status}"}} 1.0'
        return line in self.server.parts.metrics.exposition().decode()


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "c"}, {"authorization": "Bearer c"}, {"authorization": "Basic a"}])
def test_without_a_known_key_nothing_is_read(headers: dict[str, str]) -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(None) as client:
            for path, shape in ((PATH, "code"), ("/v1/messages", "type")):
                refused = await client.post(path, json=ASKED, headers=headers)
                assert refused.status_code == 401
                assert shape in refused.json()["error"], "in the vendor's shape"
        assert desk.front.streams == []

    Desk().run(main)


@pytest.mark.parametrize("headers", [{"x-api-key": "b"}, {"authorization": "Bearer b"}, {"authorization": "bearer  b "}])
def test_a_key_says_who_asks(headers: dict[str, str]) -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(None) as client:
            assert (await client.post(PATH, json=ASKED, headers=headers)).status_code == 200
        assert desk.front.streams[0].request.tenant == "bob"

    Desk().run(main)


def test_health_needs_no_key() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(None) as client:
            for path in ("/health", "/ready", "/openapi.json", "/dashboard/style.css"):
                assert (await client.get(path)).status_code == 200, path
            assert (await client.get("/healthy")).status_code == 401, "not below an open path"

    Desk().run(main)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("c", 401), ("b", 403), ("a", 200)])
def test_metrics_of_all_tenants_are_for_operators(key: str | None, status: int) -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(key) as client:
            answer = await client.get("/metrics")
        assert answer.status_code == status
        assert ("foreword_requests" in answer.text) is (status == 200)

    Desk(operators=("alice",)).run(main)


def test_metrics_need_no_key_where_there_are_none_and_never_wait_for_room() -> None:
    async def main(desk: Desk) -> None:
        desk.front.answers = None
        async with desk.client(None) as client:
            waiting = asyncio.create_task(client.post(PATH, json=ASKED))
            while not desk.front.streams:
                await asyncio.sleep(0)
            assert (await client.post(PATH, json=ASKED)).status_code == 429
            assert (await client.get("/metrics")).status_code == 200
            waiting.cancel()

    Desk(Tenants({}), max_requests_per_key=1).run(main)


def test_each_answer_bears_the_id_by_which_it_can_be_explained() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client() as client:
            answer = await client.post(PATH, json=ASKED)
        name = answer.headers["x-request-id"]
        assert answer.headers["request-id"] == name
        assert answer.json()["id"] == desk.front.streams[0].request.request_id == f"cmpl-{name}"

    Desk().run(main)


def test_each_key_has_so_many_requests_at_a_time() -> None:
    async def main(desk: Desk) -> None:
        desk.front.answers = None
        async with desk.client() as client:
            first = asyncio.ensure_future(client.post(PATH, json=ASKED))
            while not desk.front.streams:
                await asyncio.sleep(0.001)
            refused = await client.post(PATH, json=ASKED)
            assert refused.status_code == 429
            assert "1 requests of this API key are open" in refused.json()["error"]["message"]
            assert int(refused.headers["retry-after"]) >= 1
            other = asyncio.ensure_future(client.post(PATH, json=ASKED, headers={"x-api-key": "b"}))
            while len(desk.front.streams) < 2:
                await asyncio.sleep(0.001)
            for stream in desk.front.streams:
                stream.tell("fox", finish="stop")
            assert [(await one).status_code for one in (first, other)] == [200, 200]
            desk.front.answers = "fox"
            assert (await client.post(PATH, json=ASKED)).status_code == 200

    Desk(max_requests_per_key=1).run(main)


async def _pieces(pieces: Iterable[bytes], seconds: float = 0.0) -> Any:
    for piece in pieces:
        yield piece
        await asyncio.sleep(seconds)


def test_a_body_that_is_too_large_is_refused_before_or_while_it_comes() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client() as client:
            announced = await client.post(PATH, content=b"x" * 101)
            sent = await client.post(PATH, content=_pieces([b"x" * 60] * 2))
            assert (await client.post(PATH, json=ASKED)).status_code == 200
        assert [refused.status_code for refused in (announced, sent)] == [413, 413]
        assert "has 101 bytes; this server takes 100" in announced.text
        assert "has more than 100 bytes" in sent.text

    Desk(max_body_bytes=100).run(main)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def gate(desk: Desk) -> list[Any]:
        sent: list[Any] = []
        coming = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive() -> Any:
            for message in coming:
                return message
            await asyncio.sleep(60)
            raise AssertionError("the gate has waited for a minute")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": [],
        }
        await desk.app(scope, receive, send)
        return sent

    desk = Desk(Tenants({}), body_timeout=0.02)
    start, body = asyncio.run(gate(desk))
    assert start["status"] == 408
    assert b"did not arrive within 0.02 s" in body["body"]
    assert desk.counted(408)


def test_a_fault_of_ours_says_nothing_of_its_insides() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client() as client:
            desk.front.refuses = RuntimeError("secret")
            answer = await client.post(PATH, json=ASKED)
            assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
            assert "secret" not in answer.text
            assert len(answer.headers["x-request-id"]) == 32
            desk.front.refuses = None
            assert (await client.post(PATH, json=ASKED)).status_code == 200
        (failure,) = (entry for entry in lines(desk.log) if entry["event"] == "failure")
        assert failure["path"] == PATH
        assert "RuntimeError" in failure["fault"]
        assert "secret" not in desk.log.getvalue()
        assert desk.counted(500)

    Desk().run(main)


def test_a_request_counts_when_its_body_is_in() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client() as client:
            go_on = asyncio.Event()

            async def slowly() -> Any:
                yield b'{"model": "fake", '
                await go_on.wait()
                yield b'"prompt": "the fox"}'

            headers = {"content-type": "application/json"}
            halves = [asyncio.ensure_future(client.post(PATH, content=slowly(), headers=headers)) for _ in range(5)]
            await asyncio.sleep(0.01)
            assert (await client.post(PATH, json=ASKED)).status_code == 200
            go_on.set()
            await asyncio.gather(*halves)

    Desk(max_requests_per_key=1).run(main)


def test_bodies_on_their_way_are_bounded_together_and_the_oldest_makes_room() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client() as client:

            async def half(size: int) -> Any:
                yield b"x" * size
                await asyncio.sleep(60)

            halves = []
            for _ in range(3):
                halves.append(asyncio.ensure_future(client.post(PATH, content=half(80))))
                await asyncio.sleep(0.01)
            refused = await asyncio.wait_for(halves[0], 5)
            assert refused.status_code == 429
            assert "has taken longest" in refused.text
            assert not halves[1].done()
            assert (await client.post(PATH, json=ASKED)).status_code == 200
            for other in halves[1:]:
                other.cancel()

    Desk(max_body_bytes=100, max_receiving_bytes=200).run(main)


def test_wrong_keys_are_logged_by_a_hash_and_not_without_end() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client("secret") as client:
            for _ in range(30):
                assert (await client.post(PATH, json=ASKED)).status_code == 401
        lines_of = [line for line in lines(desk.log) if line["event"] == "unauthorized"]
        assert len(lines_of) == 10
        assert lines_of[0]["key_sha256"] == "2bb80d53"
        assert "secret" not in desk.log.getvalue()

    Desk().run(main)


def test_a_page_of_another_host_is_refused_where_there_are_no_keys() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(None) as client:
            for path in ("/v1/models", "/metrics", "/"):
                refused = await client.get(path, headers={"host": "evil.example"})
                assert refused.status_code == 403
                assert (await client.get(path)).status_code == 200
            assert "access-control-allow-origin" not in refused.headers

    Desk(Tenants({})).run(main)


def test_pages_load_nothing_and_name_what_is_here() -> None:
    async def main(desk: Desk) -> None:
        async with desk.client(None) as client:
            assert "/dashboard" in (await client.get("/")).json()["endpoints"]
            for path in ("/", "/docs"):
                page = await client.get(path, headers={"accept": "text/html"})
                assert page.headers["content-security-policy"].startswith("default-src 'none'")
                assert "//" not in page.text
                assert 'src="/' in page.text or "<script" not in page.text
            assert "/v1/chat/completions" in page.text
            assert (await client.get("/playground/__init__.py")).status_code == 404

    Desk().run(main)
