"""The bridge between asyncio and the engine's thread: answers, aborts, and the thread's death."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.checks import assert_settled
from foreword.engine import Engine, EngineConfig, RequestOutput, SamplingParams
from foreword.engine.engine_thread import EngineRequest, EngineThread, OutputStream
from foreword.errors import ConfigError, IntegrityError, PromptError, StepFailed, Unavailable

PROMPT = list(range(2, 50))


def request(name: str, tokens: int = 8, **more: Any) -> EngineRequest:
    return EngineRequest(name, PROMPT, SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True), **more)


class Ends:
    """What on_end was told, by request."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[RequestOutput | None, Exception | None]] = {}

    def of(self, name: str) -> Callable[[RequestOutput | None, Exception | None], None]:
        def note(output: RequestOutput | None, error: Exception | None) -> None:
            assert name not in self.told, "an end is told once"
            self.told[name] = (output, error)

        return note


@pytest.fixture
def started(engine_config: Callable[..., EngineConfig]) -> Iterator[tuple[EngineThread, Engine]]:
    thread = EngineThread(lambda: Engine(engine_config()))
    engine = thread.start()
    yield thread, engine
    thread.stop()


async def read(stream: OutputStream) -> RequestOutput:
    while not (output := await stream.next()).finished:
        pass
    return output


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_requests_are_answered_side_by_side(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    ends = Ends()

    async def ask(name: str) -> RequestOutput:
        return await read(await thread.submit(request(name), ends.of(name)))

    async def main() -> list[RequestOutput]:
        outputs = await asyncio.gather(*(ask(f"r{number}") for number in range(20)))
        await until(lambda: len(ends.told) == 20)
        return outputs

    outputs = asyncio.run(main())
    assert len({tuple(output.outputs[0].token_ids) for output in outputs}) == 1
    assert sum(output.account.computed for output in outputs) == 48 + 19, "computed once, but for each one's last token"
    assert set(ends.told) == {f"r{number}" for number in range(20)}
    assert_settled(engine)


def test_a_slow_reader_gets_the_newest_output_and_the_end(started: tuple[EngineThread, Engine]) -> None:
    thread, _ = started
    ends = Ends()

    async def main() -> list[int]:
        stream = await thread.submit(request("slow", 30), ends.of("slow"))
        await until(lambda: "slow" in ends.told)
        return [len((await stream.next()).outputs[0].token_ids)]

    assert asyncio.run(main()) == [30], "one output, the last"


def test_closing_aborts_and_frees_the_blocks(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    ends = Ends()

    async def main() -> None:
        stream = await thread.submit(request("left", 900), ends.of("left"))
        await stream.next()
        stream.close()
        stream.close()
        await until(lambda: "left" in ends.told)

    asyncio.run(main())
    output, error = ends.told["left"]
    assert output is not None
    assert output.outputs[0].finish_reason == "abort"
    assert isinstance(error, StepFailed)
    assert_settled(engine)


def test_an_abort_takes_effect_before_the_next_step(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    ends, steps, step = Ends(), [], engine.step

    def counted() -> list[RequestOutput]:
        steps.append(engine.usage().held_blocks)
        return step()

    engine.step = counted  # type: ignore[method-assign]

    async def main() -> int:
        stream = await thread.submit(request("left", 900), ends.of("left"))
        await stream.next()
        stream.close()
        before = len(steps)
        await until(lambda: "left" in ends.told)
        return len(steps) - before

    assert asyncio.run(main()) <= 1, "at most the step that was under way"


def test_cancelling_while_the_engine_is_busy_leaves_nothing(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    ends, busy, go_on = Ends(), threading.Event(), threading.Event()

    async def main() -> None:
        blocker = asyncio.ensure_future(thread.call(lambda _: (busy.set(), go_on.wait(30))))
        await until(busy.is_set)
        asking = asyncio.ensure_future(thread.submit(request("never"), ends.of("never")))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go_on.set()
        await blocker
        assert not await thread.call(lambda engine: engine.has_unfinished_requests())

    asyncio.run(main())
    assert ends.told == {}
    assert_settled(engine)


def test_a_refused_request_raises_and_the_thread_goes_on(started: tuple[EngineThread, Engine]) -> None:
    thread, _ = started

    async def main() -> RequestOutput:
        empty = EngineRequest("bad", [], SamplingParams())
        with pytest.raises(PromptError, match="empty"):
            await thread.submit(empty, Ends().of("bad"))
        return await read(await thread.submit(request("good"), Ends().of("good")))

    assert asyncio.run(main()).finished


def test_a_failed_forward_pass_ends_its_requests_only(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    run, ends = engine.runner.run, Ends()

    def broken(*_: Any) -> Any:
        engine.runner.run = run  # type: ignore[method-assign]
        raise RuntimeError("planted")

    async def main() -> RequestOutput:
        engine.runner.run = broken  # type: ignore[method-assign]
        with pytest.raises(StepFailed, match="planted"):
            await read(await thread.submit(request("bad"), ends.of("bad")))
        output = await read(await thread.submit(request("good"), ends.of("good")))
        await until(lambda: len(ends.told) == 2)
        return output

    assert asyncio.run(main()).finished
    assert isinstance(ends.told["bad"][1], StepFailed)
    assert thread.death is None
    assert_settled(engine)


def test_the_threads_death_is_told_to_everyone(started: tuple[EngineThread, Engine]) -> None:
    thread, engine = started
    ends = Ends()

    def die(_: Any) -> Any:
        raise IntegrityError("planted")

    async def main() -> list[Any]:
        streams = [await thread.submit(request(f"r{number}", 900), ends.of(f"r{number}")) for number in range(3)]
        reading = [asyncio.ensure_future(read(stream)) for stream in streams]
        await streams[0].next()
        engine.scheduler.schedule = die  # type: ignore[method-assign, assignment]
        errors = await asyncio.gather(*reading, return_exceptions=True)
        for late in (thread.submit(request("late"), ends.of("late")), thread.call(lambda engine: engine)):
            with pytest.raises(Unavailable, match="planted"):
                await late
        await until(lambda: len(ends.told) == 3)
        return errors

    errors = asyncio.run(main())
    assert all(isinstance(error, Unavailable) for error in errors)
    assert all("The engine has died: IntegrityError: planted" in str(error) for error in errors)
    assert set(ends.told) == {"r0", "r1", "r2"}
    assert thread.death is not None


def test_stopping_tells_who_still_reads(started: tuple[EngineThread, Engine]) -> None:
    thread, _ = started

    async def main() -> None:
        stream = await thread.submit(request("open", 900), Ends().of("open"))
        await asyncio.to_thread(thread.stop)
        with pytest.raises(Unavailable, match="shutting down"):
            await read(stream)

    asyncio.run(main())


def test_an_engine_that_cannot_be_made_raises_at_start() -> None:
    with pytest.raises(ConfigError, match="block_size"):
        EngineThread(lambda: Engine(EngineConfig(block_size=7))).start()


def test_an_idle_engine_checks_its_books_once(engine_config: Callable[..., EngineConfig]) -> None:
    thread = EngineThread(lambda: Engine(engine_config()), idle_check_seconds=0.05)
    engine = thread.start()
    checks: list[int] = []

    async def main() -> None:
        await thread.call(lambda engine: setattr(engine.cache, "check_integrity", lambda: checks.append(1)))
        await until(lambda: bool(checks))
        await asyncio.sleep(0.3)
        assert checks == [1], "once an idle period"
        await thread.call(lambda engine: engine.usage())
        await until(lambda: len(checks) == 2)

    asyncio.run(main())
    thread.stop()
    assert not engine.has_unfinished_requests()


def test_broken_books_end_the_thread(engine_config: Callable[..., EngineConfig]) -> None:
    thread = EngineThread(lambda: Engine(engine_config()), idle_check_seconds=0.05)
    engine = thread.start()
    engine.cache.check_integrity = lambda: (_ for _ in ()).throw(IntegrityError("planted"))  # type: ignore[method-assign]

    async def main() -> None:
        await until(lambda: thread.death is not None)

    asyncio.run(main())
    thread.stop()
    assert "planted" in str(thread.death)
