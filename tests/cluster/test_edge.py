"""The server's edge over a fleet: whose cache is whose, what is refused, and how that is said, as by one engine's server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from cluster.small_fleet import SmallFleet, small_fleet
from engine.making import Made
from foreword.engine import Engine
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.runner import Sampled, Step
from foreword.server.build import make_server
from foreword.server.tenants import Tenants, load_tenants
from foreword.serving.config import ServerConfig
from foreword.serving.fleet_view import FleetView
from foreword.serving.front import EngineFront

NO_KEYS = Tenants({})
KEYS = load_tenants(None, {"FOREWORD_API_KEYS": "alice:key-a,bob:key-b"})
SECRET = "My secret is a lazy dog. " * 4
LONG = "the quick brown fox " * 600


@asynccontextmanager
async def edge(
    front: EngineFront, tenants: Tenants = NO_KEYS, fleet: FleetView | None = None, **options: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server over an engine or a fleet."""
    listens: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    config = ServerConfig(**{"port": 0, "served_model_names": ("tiny",), "drain_timeout": 5.0, **options})
    server = make_server(front, config, tenants, announce=lambda _, port: listens.set_result(port), fleet=fleet)
    serving = asyncio.create_task(server.serve())
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{await listens}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


def over(small: SmallFleet, tenants: Tenants = NO_KEYS, **options: Any) -> Any:
    return edge(small.fleet, tenants, small.fleet, **options)


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": SECRET, "max_tokens": 2, "temperature": 0, **fields}


def message(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": SECRET}], **fields}


def test_tenants_and_salts_never_share_and_each_shares_with_itself(make_engine: Callable[..., Made]) -> None:
    async def test() -> None:
        async with small_fleet(lambda: make_engine().engine, "a", "b") as small, over(small, KEYS) as client:

            async def cached(key: str, **fields: Any) -> int:
                headers = {"authorization": f"Bearer {key}"}
                got = await client.post("/v1/completions", json=completion(**fields), headers=headers)
                assert got.status_code == 200, got.text
                found: int = got.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
                return found

            assert await cached("key-a") == 0
            whole = await cached("key-a")
            assert whole > 16
            for key, salt in [("key-b", None), ("key-b", "x"), ("key-a", "x"), ("key-a", "y")]:
                assert [await cached(key, cache_salt=salt) for _ in range(2)] == [0, whole]
            tally = small.fleet.stats().tally
            assert tally.available_tokens == tally.routed_tokens, "nobody was sent to another's prefix"
            assert tally.delivered_tokens == 5 * whole

    asyncio.run(test())


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", completion(prompt=LONG)), ("/v1/messages", message(system=LONG))]
)
def test_a_prompt_too_long_for_every_replica_is_refused_as_by_one_server(
    make_engine: Callable[..., Made], path: str, body: dict[str, Any]
) -> None:
    async def told(client: httpx2.AsyncClient) -> tuple[int, dict[str, Any]]:
        got = await client.post(path, json=body)
        error: dict[str, Any] = got.json()["error"]
        return got.status_code, {name: value for name, value in error.items() if name != "request_id"}

    async def test() -> None:
        async with small_fleet(lambda: make_engine().engine, "a", "b") as small, over(small) as client:
            of_fleet = await told(client)
        alone = AsyncEngine(lambda: make_engine().engine)
        async with edge(alone) as client:
            assert of_fleet == await told(client)
        assert of_fleet[0] == 400

    asyncio.run(test())


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", completion()), ("/v1/messages", message())])
@pytest.mark.parametrize("stream", [False, True])
def test_without_a_replica_all_are_told_when_to_come_back(
    make_engine: Callable[..., Made], path: str, body: dict[str, Any], stream: bool
) -> None:
    async def test() -> None:
        async with small_fleet(lambda: make_engine().engine, "a") as small, over(small) as client:
            assert (await client.post(path, json={**body, "stream": stream})).status_code == 200
            await small.cut("a")
            await small.have_joined()
            refused = await client.post(path, json={**body, "stream": stream})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "No replica is ready" in refused.text
            assert (await client.get("/ready")).status_code == 503
            await small.add("b")
            await small.have_joined("b")
            assert (await client.post(path, json={**body, "stream": stream})).status_code == 200

    asyncio.run(test())


def test_limits_hold_for_the_fleet_and_not_for_each_replica(make_engine: Callable[..., Made]) -> None:
    go_on = threading.Event()

    def engine() -> Engine:
        made = make_engine()

        def hook(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
            assert go_on.wait(60)
            return run(step)

        made.runner.hook = hook
        return made.engine

    async def test() -> None:
        async with small_fleet(engine, "a", "b") as small, over(small, KEYS, max_requests_per_key=2) as client:

            async def status(key: str) -> int:
                body, headers = completion(), {"authorization": f"Bearer {key}"}
                found: int = (await client.post("/v1/completions", json=body, headers=headers)).status_code
                return found

            of_a = [asyncio.ensure_future(status("key-a")) for _ in range(3)]
            of_b = asyncio.ensure_future(status("key-b"))
            await asyncio.wait(of_a, return_when=asyncio.FIRST_COMPLETED)
            go_on.set()
            assert (sorted(await asyncio.gather(*of_a)), await of_b) == ([200, 200, 429], 200)
            assert await status("key-a") == 200
            assert await status("guessed") == 401

    asyncio.run(test())
