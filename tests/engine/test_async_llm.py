"""AsyncLLM: answers, streams, aborts, what it says once closed, and the death of the engine's thread."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from engine.checks import assert_settled
from engine.making import Made, make
from foreword.engine import Engine, EngineConfig, EngineRequest, RequestOutput, SamplingParams
from foreword.engine.async_llm import AsyncLLM
from foreword.engine.runner import Sampled, Step
from foreword.engine.stream import RequestEnd, Stream
from foreword.errors import ConfigError, IntegrityError, NotFoundError, ParameterError, PromptError, StepFailed, Unavailable
from foreword.events import RequestFinished
from foreword.outputs import Delta
from foreword.tokens import pack_tokens

TOKENS = pack_tokens(range(2, 50))
PROMPT = {"prompt_token_ids": list(range(2, 50))}
Run = Callable[[Step], list[Sampled]]


def greedy(tokens: int = 8, **more: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 0, "max_tokens": tokens, "ignore_eos": True, **more})


def request(name: str, tokens: int = 8, **more: Any) -> EngineRequest:
    return EngineRequest(TOKENS, greedy(tokens), name, **more)


class Ends:
    """What on_end was told, by request."""

    def __init__(self) -> None:
        self.told: dict[str, RequestEnd] = {}

    def of(self, name: str) -> Callable[[RequestEnd], None]:
        def note(end: RequestEnd) -> None:
            assert name not in self.told, "an end is told once"
            self.told[name] = end

        return note


@dataclass
class Started:
    """An AsyncLLM and what it runs, to be looked at when nothing runs."""

    llm: AsyncLLM
    made: Made

    @property
    def engine(self) -> Engine:
        return self.made.engine


def start(config: EngineConfig, idle_check_seconds: float = 10.0) -> Started:
    made: list[Made] = []

    def engine() -> Engine:
        made.append(make(config))
        return made[0].engine

    llm = AsyncLLM.over(engine, idle_check_seconds)
    return Started(llm, made[0])


@pytest.fixture
def started(engine_config: Callable[..., EngineConfig]) -> Iterator[Started]:
    started = start(engine_config())
    yield started
    started.llm.close()


async def read(stream: Stream) -> list[Delta]:
    deltas = [await stream.next()]
    while not deltas[-1].finished:
        deltas.append(await stream.next())
    return deltas


def ids_of(deltas: list[Delta], index: int = 0) -> list[int]:
    return [token for delta in deltas for choice in delta.choices if choice.index == index for token in choice.token_ids]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_requests_are_answered_side_by_side(started: Started) -> None:
    ends = Ends()

    async def ask(name: str) -> list[Delta]:
        return await read(started.llm.submit(request(name), ends.of(name)))

    async def main() -> list[list[Delta]]:
        answers = await asyncio.gather(*(ask(f"r{number}") for number in range(20)))
        await until(lambda: len(ends.told) == 20)
        return answers

    answers = asyncio.run(main())
    assert len({tuple(ids_of(deltas)) for deltas in answers}) == 1
    assert sum(deltas[-1].account.computed for deltas in answers) == 48 + 19, "computed once, but for each one's last token"
    assert set(ends.told) == {f"r{number}" for number in range(20)}
    assert {(end.outcome, end.output_tokens, end.error) for end in ends.told.values()} == {("length", 8, None)}
    assert_settled(started.engine)


def test_generate_and_stream_answer_alike(started: Started) -> None:
    """Several continuations, with their logprobs and their ends; the pieces are what is new, each told once."""
    params = SamplingParams(n=3, seed=1, max_tokens=12, ignore_eos=True, logprobs=1, stop="fox")

    async def main() -> tuple[RequestOutput, list[Delta]]:
        return await started.llm.generate(PROMPT, params), [delta async for delta in started.llm.stream(PROMPT, params)]

    output, deltas = asyncio.run(main())
    assert [delta.finished for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    for answer in output.outputs:
        pieces = [choice for delta in deltas for choice in delta.choices if choice.index == answer.index]
        assert "".join(choice.text for choice in pieces) == answer.text
        assert [token for choice in pieces for token in choice.token_ids] == answer.token_ids
        assert [entry for choice in pieces for entry in choice.logprobs or ()] == answer.logprobs
        assert [choice.finish_reason for choice in pieces] == [None] * (len(pieces) - 1) + [answer.finish_reason]
    assert output.prompt_token_ids == PROMPT["prompt_token_ids"]
    assert_settled(started.engine)


def test_a_prompt_may_have_any_form(started: Started) -> None:
    messages = [{"role": "user", "content": "the fox"}]

    async def main() -> list[RequestOutput]:
        llm = started.llm
        rendered = await llm.render_chat(messages)
        assert rendered.text is not None
        return [
            await llm.generate(rendered.text, greedy()),
            await llm.chat(messages, greedy()),
            await llm.generate({"prompt": rendered.text, "cache_salt": "x"}, greedy()),
        ]

    written, chat, salted = asyncio.run(main())
    assert written.outputs == chat.outputs == salted.outputs
    assert (chat.prompt, salted.num_cached_tokens) == ("<user>the fox\n<assistant>", 0)
    assert chat.num_cached_tokens == len(chat.prompt_token_ids) - 1


def test_what_is_said_of_a_conversation_reaches_the_engine(started: Started) -> None:
    seen: list[Any] = []
    started.engine.subscribe(seen.append)
    asyncio.run(started.llm.generate({**PROMPT, "cache_conversation": "goes_on"}, greedy()))
    asyncio.run(started.llm.chat([{"role": "user", "content": "the fox"}], greedy(), cache_conversation="ended"))
    assert [event.conversation for event in seen if isinstance(event, RequestFinished)] == ["goes_on", "ended"]


def test_parameters_that_are_none_are_refused(started: Started) -> None:
    given: Any = {"max_tokens": 4}
    with pytest.raises(ParameterError, match=r"give SamplingParams\(\*\*"):
        asyncio.run(started.llm.generate("the fox", given))
    assert started.llm.get_default_sampling_params() == SamplingParams()


def test_a_slow_reader_loses_nothing_and_gets_it_in_one_piece(started: Started) -> None:
    ends, has_read = Ends(), threading.Event()

    def wait_for_the_reader(step: Step, run: Run) -> list[Sampled]:
        if any(chunk.end > chunk.num_prompt_tokens for chunk in step.chunks):
            assert has_read.wait(30)
        return run(step)

    async def main() -> tuple[list[Delta], list[Delta]]:
        slow = started.llm.submit(request("slow", 30), ends.of("slow"))
        await until(lambda: "slow" in ends.told)
        started.made.runner.hook = wait_for_the_reader
        quick = started.llm.submit(request("quick", 30))
        first = await quick.next()
        has_read.set()
        return await read(slow), [first, *await read(quick)]

    slow, quick = asyncio.run(main())
    assert len(slow) == 1
    assert len(quick) > 1
    assert ids_of(slow) == ids_of(quick)
    assert slow[0].choices[0].text == "".join(delta.choices[0].text for delta in quick)


def test_closing_aborts_and_frees_the_blocks(started: Started) -> None:
    ends = Ends()

    async def main() -> None:
        stream = started.llm.submit(request("left", 900), ends.of("left"))
        await stream.next()
        stream.close()
        stream.close()
        await until(lambda: "left" in ends.told)

    asyncio.run(main())
    end = ends.told["left"]
    assert end.outcome == "abort"
    assert end.account is not None
    assert end.account.prompt_tokens == 48
    assert isinstance(end.error, StepFailed)
    assert_settled(started.engine)


def test_an_abort_by_name_ends_the_readers_stream(started: Started) -> None:
    async def main() -> None:
        stream = started.llm.submit(request("named", 900))
        await stream.next()
        started.llm.abort("named")
        started.llm.abort("nobody")
        with pytest.raises(StepFailed, match="aborted"):
            await read(stream)

    asyncio.run(main())
    assert_settled(started.engine)


@pytest.mark.parametrize("how", ["generate", "stream", "left"])
def test_a_cancelled_task_frees_its_blocks_before_the_next_step(started: Started, how: str) -> None:
    """At most the step that was under way goes on with it."""
    steps: list[tuple[str, ...]] = []
    started.made.parts.runner.sinks.append(lambda step, _: steps.append(tuple(c.request_id for c in step.chunks)))

    async def ask() -> None:
        if how == "generate":
            await started.llm.generate(PROMPT, greedy(900))
        async with aclosing(started.llm.stream(PROMPT, greedy(900))) as stream:
            async for _ in stream:
                if how == "left":
                    return

    async def main() -> int:
        task = asyncio.ensure_future(ask())
        await until(lambda: len(steps) > (0 if how == "left" else 3))
        if how == "left":
            await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        before = len(steps)
        held = await started.llm.call(lambda engine: engine.usage().held_blocks)
        assert held == 0
        return len(steps) - before

    assert asyncio.run(main()) <= 1
    assert_settled(started.engine)


def test_cancelling_while_the_engine_is_busy_leaves_nothing(started: Started) -> None:
    ends, busy, go_on = Ends(), threading.Event(), threading.Event()

    def stay_busy(_: Engine) -> bool:
        busy.set()
        return go_on.wait(30)

    async def main() -> None:
        blocker = asyncio.ensure_future(started.llm.call(stay_busy))
        await until(busy.is_set)
        stream = started.llm.submit(request("never"), ends.of("never"))
        asking = asyncio.ensure_future(read(stream))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        stream.close()
        go_on.set()
        await blocker
        assert not await started.llm.call(lambda engine: engine.has_unfinished_requests())
        await until(lambda: "never" in ends.told)

    asyncio.run(main())
    assert (ends.told["never"].outcome, ends.told["never"].output_tokens) == ("abort", 0), "it was taken, and made no step"
    assert_settled(started.engine)


def test_a_refused_request_raises_and_the_others_go_on(started: Started) -> None:
    async def main() -> RequestOutput:
        with pytest.raises(PromptError, match="empty"):
            started.llm.submit(EngineRequest(b"", SamplingParams(), "bad"), Ends().of("bad"))
        with pytest.raises(PromptError, match="Did you mean 'prompt'"):
            await started.llm.generate({"promt": "a"})
        return await started.llm.generate(PROMPT, greedy())

    assert asyncio.run(main()).finished


def test_what_only_the_engine_can_refuse_is_told_to_the_reader(started: Started) -> None:
    """A name in use; and the engine's death, for a request that it has not looked at."""
    ends = Ends()

    async def main() -> None:
        llm, busy, go_on = started.llm, threading.Event(), threading.Event()
        first = llm.submit(request("one", 900))
        with pytest.raises(ParameterError, match="'one' is in use"):
            await read(llm.submit(request("one"), ends.of("one")))
        first.close()
        await until(lambda: "one" in ends.told)

        def die(_: Engine) -> None:
            busy.set()
            go_on.wait(30)
            raise IntegrityError("planted")

        dying = asyncio.ensure_future(llm.call(die))
        await until(busy.is_set)
        late = llm.submit(request("late"), ends.of("late"))
        late.close()
        go_on.set()
        with pytest.raises(Unavailable, match="planted"):
            await read(late)
        with pytest.raises(IntegrityError):
            await dying
        await until(lambda: "late" in ends.told)

    asyncio.run(main())
    assert [(end.outcome, end.output_tokens, end.account) for end in ends.told.values()] == 2 * [("error", 0, None)]


def test_a_failed_forward_pass_ends_its_requests_only(started: Started) -> None:
    """What was generated before is read first."""
    ends, steps = Ends(), itertools.count()

    def broken(step: Step, run: Run) -> list[Sampled]:
        if next(steps) == 2:
            started.made.runner.hook = None
            raise RuntimeError("planted")
        return run(step)

    async def main() -> RequestOutput:
        started.made.runner.hook = broken
        stream = started.llm.submit(request("bad"), ends.of("bad"))
        await until(lambda: "bad" in ends.told)
        delta = await stream.next()
        assert (len(delta.choices[0].token_ids), delta.choices[0].finish_reason, delta.finished) == (2, None, False)
        with pytest.raises(StepFailed, match="RuntimeError"):
            await stream.next()
        return await started.llm.generate(PROMPT, greedy())

    assert asyncio.run(main()).finished
    assert isinstance(ends.told["bad"].error, StepFailed)
    assert started.llm.death is None
    assert_settled(started.engine)


def test_the_engines_death_is_told_to_everyone(started: Started) -> None:
    ends = Ends()

    def die(_: Engine) -> None:
        raise IntegrityError("planted")

    async def main() -> list[Any]:
        llm = started.llm
        streams = [llm.submit(request(f"r{number}", 900), ends.of(f"r{number}")) for number in range(3)]
        reading = [asyncio.ensure_future(read(stream)) for stream in streams]
        with pytest.raises(IntegrityError):
            await llm.call(die)
        errors = await asyncio.gather(*reading, return_exceptions=True)
        with pytest.raises(Unavailable, match="planted"):
            llm.submit(request("late"), ends.of("late"))
        for late in (llm.call(lambda engine: engine), llm.generate(PROMPT)):
            with pytest.raises(Unavailable, match="planted"):
                await late
        await until(lambda: len(ends.told) == 3)
        return errors

    errors = asyncio.run(main())
    assert all(isinstance(error, Unavailable) for error in errors)
    assert all("The engine has died: IntegrityError: planted" in str(error) for error in errors)
    assert set(ends.told) == {"r0", "r1", "r2"}
    assert {(end.outcome, end.account) for end in ends.told.values()} == {("error", None)}
    assert started.llm.death is not None


def test_closed_it_says_so(started: Started) -> None:
    async def main() -> None:
        async with started.llm as llm:
            stream = llm.submit(request("open", 900))
        calls = [
            read(stream),
            llm.generate(PROMPT),
            llm.chat([{"role": "user", "content": "the fox"}]),
            llm.render_chat([{"role": "user", "content": "the fox"}]),
            llm.explain("open"),
            anext(llm.stream(PROMPT)),
            llm.reset_prefix_cache(),
            llm.call(lambda engine: engine),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="This AsyncLLM has been closed"):
                await call
        for now in (lambda: llm.abort("open"), lambda: llm.subscribe(print), lambda: llm.submit(request("late"))):
            with pytest.raises(Unavailable, match="This AsyncLLM has been closed"):
                now()
        llm.close()

    asyncio.run(main())


def test_an_engine_that_cannot_be_made_raises_at_once() -> None:
    with pytest.raises(ConfigError, match="block_size"):
        start(EngineConfig(block_size=7))
    with pytest.raises(ConfigError, match=r"Unknown option of AsyncLLM 'max_num_seq'. Did you mean 'max_num_seqs'\?"):
        AsyncLLM(max_num_seq=3)  # type: ignore[call-arg]


def test_an_idle_engine_checks_its_books_once(engine_config: Callable[..., EngineConfig]) -> None:
    made, checks = make(engine_config()), []

    class Counted(Engine):
        def check_integrity(self) -> None:
            checks.append(1)

    parts = made.parts
    llm = AsyncLLM.over(lambda: Counted(parts.scheduler, parts.runner, parts.info, parts.text), idle_check_seconds=0.05)

    async def main() -> None:
        await until(lambda: bool(checks))
        await asyncio.sleep(0.3)
        assert checks == [1], "once an idle period"
        await llm.call(lambda engine: engine.usage())
        await until(lambda: len(checks) == 2)

    asyncio.run(main())
    llm.close()


def test_broken_books_end_the_engine(engine_config: Callable[..., EngineConfig]) -> None:
    parts = make(engine_config()).parts

    class Broken(Engine):
        def check_integrity(self) -> None:
            raise IntegrityError("planted")

    llm = AsyncLLM.over(lambda: Broken(parts.scheduler, parts.runner, parts.info, parts.text), idle_check_seconds=0.05)
    asyncio.run(until(lambda: llm.death is not None))
    llm.close()
    assert "planted" in str(llm.death)


def test_the_public_constructor_explains(tiny_model: str) -> None:
    async def main() -> None:
        async with AsyncLLM(tiny_model, kv_cache_memory_bytes=2**21, self_test=False, max_num_seqs=4) as llm:
            assert (llm.info.max_num_seqs, llm.info.vocab_size) == (4, 320)
            before = llm.now()
            outputs = [await llm.generate(text, greedy(2)) for text in ("the quick fox", "the quick brown fox")]
            assert before <= outputs[0].metrics.arrival_time <= llm.now()
            found = await llm.explain(outputs[1].request_id)
            assert (found.account, found.shared_text) == (outputs[1].account, "the quick")
            with pytest.raises(NotFoundError):
                await llm.explain("nobody")

    asyncio.run(main())


def test_over_an_engine_of_the_callers_nothing_is_observed(started: Started) -> None:
    heard: list[object] = []

    async def main() -> None:
        with pytest.raises(ParameterError, match="subscribe"):
            await started.llm.explain("x")
        started.llm.subscribe(heard.append)
        await started.llm.generate(PROMPT, greedy(1))

    asyncio.run(main())
    assert {type(event).__name__ for event in heard} >= {"RequestFinished", "StepFinished", "BlockStored"}
