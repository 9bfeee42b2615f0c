"""The engine's thread: functions that are run in it between two steps, whatever they do."""

import asyncio
from collections.abc import Iterator

import pytest

from engine.test_async_llm import ids_of, read
from foreword.engine import Engine, EngineRequest, SamplingParams
from foreword.engine.async_llm import AsyncLLM
from foreword.errors import StepFailed, Unavailable
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
