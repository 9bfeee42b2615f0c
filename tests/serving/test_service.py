"""Who is let in, how it comes to the engine, and what of it stays: nothing."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foreword.cache import ConversationState, Mark
from foreword.errors import NotFoundError, Overloaded, ParameterError, PromptError, StepFailed, Unavailable
from foreword.observe import ObserverConfig
from foreword.serving.config import ServerConfig
from foreword.serving.journal import Journal
from foreword.serving.log import make_log
from foreword.serving.metrics import Metrics
from foreword.serving.neutral import UNLIMITED, CacheMode, CacheSettings
from foreword.serving.observation import Observation
from foreword.serving.prompt_thread import PromptThread
from foreword.serving.rendering import PromptRenderer
from foreword.serving.served_model import ServedModel
from foreword.serving.service import Service
from foreword.tokens import pack_tokens
from serving.fake_front import FakeFront, neutral, words


def service(front: FakeFront, **options: Any) -> Service:
    config = ServerConfig(**options)
    renderer = PromptRenderer(words(), "fake")
    metrics = Metrics("fake", lambda: front.state, lambda: front.death is None, lambda: front.tier_state)
    observation = Observation(front.info, front.now, renderer, ObserverConfig())
    journal = Journal(front.now, "fake", metrics, make_log(io.StringIO()), observation, config)
    return Service(front, PromptThread(renderer, config.request_timeout), journal, config, ServedModel(("fake",), 100, 0))


def run(test: Callable[[FakeFront, Service], Any], **options: Any) -> None:
    front = FakeFront()
    asyncio.run(test(front, service(front, **options)))


def test_a_request_comes_to_the_engine_as_it_was_asked() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        cache = CacheSettings(salt="s", keep_seconds=60.0, conversation=ConversationState.ENDED)
        await served.open(neutral("the quick fox", cache=cache, stream=True))
        (stream,) = front.streams
        request = stream.request
        assert (request.request_id, request.text, request.tokens) == ("r", "the quick fox", pack_tokens([1, 2, 3]))
        assert (request.tenant, request.cache_salt, request.marks) == ("alice", "s", (Mark(3, 60.0),))
        assert (request.use_cache, request.stream, request.asked_by) == (True, True, "alice")
        assert request.conversation is ConversationState.ENDED

    run(main)


def test_a_tenant_that_shares_with_all_is_named_but_does_not_part_the_cache() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        await served.open(neutral())
        assert (front.streams[0].request.tenant, front.streams[0].request.asked_by) == (None, "alice")

    run(main, share="all")


def test_who_asks_for_no_limit_gets_what_context_and_cache_allow() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        request = neutral()
        unlimited = replace(request, sampling=replace(request.sampling, max_tokens=UNLIMITED, min_tokens=90))
        await served.open(unlimited)
        params = front.streams[0].request.params
        assert (params.max_tokens, params.min_tokens) == (20 * 4 + 1 - 4, 77), "the cache is smaller than the context"

    run(main)


@pytest.mark.parametrize(
    ("cache", "options", "uses"),
    [
        (CacheSettings(), {}, True),
        (CacheSettings(), {"min_cached_tokens": 5}, False),
        (CacheSettings(mode=CacheMode.EXPLICIT), {}, False),
        (CacheSettings(mode=CacheMode.EXPLICIT, keep_seconds=1.0), {}, True),
    ],
)
def test_who_uses_the_cache(cache: CacheSettings, options: dict[str, Any], uses: bool) -> None:
    async def main(front: FakeFront, served: Service) -> None:
        await served.open(neutral(cache=cache))
        assert front.streams[0].request.use_cache is uses

    run(main, **options)


def test_a_request_is_open_until_it_has_ended() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        asking = asyncio.ensure_future(served.answer(neutral()))
        await asyncio.sleep(0.01)
        assert served.open_requests == 1
        front.streams[0].tell("fox", finish="stop")
        assert served.open_requests == 0
        assert (await asking).choices[0].text == "fox"

    run(main)


def test_a_cancelled_answer_is_aborted() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        asking = asyncio.ensure_future(served.answer(neutral()))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert front.streams[0].closed
        assert served.open_requests == 0

    run(main)


def test_a_full_queue_refuses_and_every_end_makes_room() -> None:
    """Room for two that run and one that waits; n counts."""

    async def main(front: FakeFront, served: Service) -> None:
        with pytest.raises(Overloaded, match="is full"):
            await served.open(neutral(n=4))
        for number in range(3):
            await served.open(neutral(name=f"r{number}"))
        with pytest.raises(Overloaded, match="is full"):
            await served.open(neutral(name="late"))
        front.streams[0].fail(StepFailed("planted"))
        front.streams[1].close()
        await served.open(neutral(n=2, name="two"))

    run(main, max_queue=1)


@pytest.mark.parametrize(
    ("prompt", "refuses", "error"),
    [
        ("", None, PromptError),
        ((-1,), None, PromptError),
        ((1,) * 9, None, PromptError),
        ((1,), ParameterError("planted"), ParameterError),
        ((1,), Unavailable("planted"), Unavailable),
    ],
)
def test_what_is_refused_takes_no_room(prompt: Any, refuses: Exception | None, error: type[Exception]) -> None:
    async def main(front: FakeFront, served: Service) -> None:
        front.refuses = refuses
        for _ in range(5):
            with pytest.raises(error):
                await served.open(neutral(prompt))
        assert served.open_requests == 0
        front.refuses = None
        await served.open(neutral(n=2))

    run(main, max_queue=0, max_prompt_tokens=8)


def test_another_model_and_too_many_choices_are_refused() -> None:
    async def main(_: FakeFront, served: Service) -> None:
        with pytest.raises(NotFoundError, match="'other' is not served here; this server has 'fake'"):
            await served.open(replace(neutral(), model="other"))
        with pytest.raises(ParameterError, match="at most 1 choices"):
            await served.open(neutral(n=2))

    run(main, max_choices=1)


def test_a_dead_engine_takes_no_requests() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        front.death = Unavailable("planted")
        assert served.unavailable == "planted"
        with pytest.raises(Unavailable, match="planted"):
            await served.open(neutral())

    run(main)


def test_draining_waits_for_what_is_open_and_takes_nothing_new() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        asking = asyncio.ensure_future(served.answer(neutral()))
        await asyncio.sleep(0.01)
        draining = asyncio.ensure_future(served.drain())
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="shutting down"):
            await served.open(neutral(name="late"))
        assert not draining.done()
        front.streams[0].tell("fox", finish="stop")
        assert (await asking).choices[0].text == "fox"
        await draining

    run(main)


def test_draining_ends_what_takes_too_long() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        asking = asyncio.ensure_future(served.answer(neutral()))
        await asyncio.sleep(0.01)
        draining = asyncio.ensure_future(served.drain())
        await asyncio.sleep(0.01)
        front.clock = 30.0
        with pytest.raises(Unavailable, match="took too long to wait for"):
            await asking
        await draining

    run(main)


def test_tokens_are_counted_and_texts_told_without_the_engine() -> None:
    async def main(front: FakeFront, served: Service) -> None:
        assert await served.count_tokens("the quick fox") == 3
        assert await served.text_of("the fox") == "the fox"
        assert await served.text_of((1, 3)) == "the fox"
        assert front.streams == []

    run(main)
