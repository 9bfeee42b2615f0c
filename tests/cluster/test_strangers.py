"""Who has no business at a replica's port, and what is no message: nobody is disturbed by it."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from cluster.small_fleet import SECRET, answer, small_fleet
from cluster.test_fleet import ASKED, FakeReplica, fleet, run
from engine.making import Made
from foreword import SamplingParams
from foreword.cluster.messages import (
    BlocksRemoved,
    BlocksStored,
    CacheNews,
    Hello,
    LoadMeasured,
    WantSnapshot,
    written,
)
from foreword.engine import EngineRequest
from foreword.tokens import pack_tokens

STRANGE = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: replica\r\n\r\n",
    "a message of 200 MiB": (200 * 2**20).to_bytes(4, "big"),
    "no message": (5).to_bytes(4, "big") + b"\xc1\xff\x00\x01\x02",
    "nothing": b"",
    "another secret": written(Hello("guessed", True)),
    "no greeting": written(WantSnapshot()),
    "half a greeting": written(Hello(SECRET, True))[:-3],
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_stranger_learns_nothing_and_disturbs_nobody(
    make_engine: Callable[..., Made], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.ERROR)
    asked = EngineRequest(pack_tokens(range(2, 40)), SamplingParams(max_tokens=4))

    async def test() -> None:
        async with small_fleet(lambda: make_engine().engine, "a") as small:
            host, _, port = small.members["a"].address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(STRANGE[name])
            if name in ("nothing", "half a greeting"):
                writer.write_eof()
            async with asyncio.timeout(5):
                told = await reader.read()
            writer.close()
            assert SECRET.encode() not in told and b"Welcome" not in told
            assert (b"another fleet" in told) is (name == "another secret")
            assert (await answer(small.fleet, asked))[-1].finished
            assert small.fleet.counts.lost == 0

    asyncio.run(test())
    assert not caplog.records


@pytest.mark.parametrize(
    "event",
    [
        BlocksStored(b"1234567", None),
        BlocksStored(bytes(8), None),
        BlocksRemoved(b"1"),
        BlocksStored(b"123", None, "STORAGE"),
        LoadMeasured(-1.0),
        LoadMeasured(float("nan")),
    ],
)
def test_garbage_of_a_replica_is_counted_and_a_snapshot_asked_for(
    event: BlocksStored | BlocksRemoved | LoadMeasured,
) -> None:
    async def test() -> None:
        one, two = FakeReplica("one"), FakeReplica("two")
        made = fleet(one, two)
        made.cache_news(two, CacheNews(0, (BlocksStored(b"12345678", None),)))
        made.cache_news(one, CacheNews(0, (event,)))
        told = made.stats().replicas
        assert (told["one"].events.garbage, one.snapshots) == (1, 1)
        assert (told["two"].events.garbage, two.snapshots, told["two"].blocks) == (0, 0, 1)
        made.submit(ASKED, lambda _: None).close()

    run(test)
