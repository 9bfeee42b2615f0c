"""The engine's thread: functions that are run in it between two steps, whatever they do; and what it sleeps for."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from engine.test_async_llm import ids_of, read, until
from engine.test_loop import REQUEST, Load
from engine.test_loop import make as make_without_a_model
from foreword.engine import Engine, EngineRequest, SamplingParams
from foreword.engine.async_llm import AsyncLLM
from foreword.errors import StepFailed, Unavailable
from foreword.outputs import Delta
from foreword.testing import fake_engine
from foreword.tokens import pack_tokens


def request(name: str, tokens: int = 8) -> EngineRequest:
    return EngineRequest(pack_tokens(range(20)), SamplingParams(max_tokens=tokens), name)


@pytest.fixture
def llm() -> Iterator[AsyncLLM]:
    llm = AsyncLLM.over(fake_engine)
    yield llm
    llm.close()


def test_a_function_that_is_called_may_end_requests_and_add_some(llm: AsyncLLM) -> None:
    """Whoever reads one that it ends is told; nobody reads one that it adds."""

    async def main() -> None:
        reading = asyncio.ensure_future(read(llm.submit(request("ended", 200))))
        await llm.call(lambda engine: engine.step())
        await llm.call(lambda engine: engine.abort("ended"))
        async with asyncio.timeout(30):
            with pytest.raises(StepFailed, match="aborted"):
                await reading
        await llm.call(lambda engine: engine.add_request(request("added")))
        assert len(ids_of(await read(llm.submit(request("other"))))) == 8

    asyncio.run(main())
    assert llm.death is None


def test_a_function_that_ends_the_thread_has_an_answer_too(llm: AsyncLLM) -> None:
    def leave(_: Engine) -> None:
        raise SystemExit("planted")

    async def main() -> None:
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable, match="SystemExit"):
                await llm.call(leave)

    asyncio.run(main())


def test_the_thread_sleeps_until_what_is_awaited_arrives() -> None:
    """It makes no step meanwhile, and other requests and calls wake it."""
    load, held = Load(), []

    def engine() -> Engine:
        made, cache = make_without_a_model(load)
        held.append(cache)
        cache.held = True
        return made

    llm = AsyncLLM.over(engine)
    cache = held[0]

    async def main() -> list[Delta]:
        stream = llm.submit(REQUEST)
        await until(lambda: cache.asked > 0)
        asked = 0
        while cache.asked > asked:  # a loop that does not sleep asks without end
            asked = cache.asked
            time.sleep(0.1)
        assert await llm.call(lambda engine: engine.state().running) == 1
        cache.held = load.under_way = False
        load.ring()
        return await read(stream)

    assert ids_of(asyncio.run(main())) == [20, 21, 22]
    llm.close()
