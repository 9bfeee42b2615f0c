"""Prompts that take long: they have a deadline, and what nobody waits for any more is not begun."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foreword.errors import PromptError, TimedOut
from foreword.serving.prompt_thread import PromptThread
from foreword.serving.rendering import RenderedPrompt
from foreword.tokens import pack_tokens

LONG = "the quick fox " * 1000
"""Too long to be made in the event loop."""


class SlowRenderer:
    """Makes each prompt when it is let; ``begun`` are those that it was asked for."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []
        self.raises: BaseException | None = None

    def render(self, prompt: str, find_public_part: bool = False) -> RenderedPrompt:
        del find_public_part
        self.begun.append(prompt)
        assert self.go_on.wait(60)
        if self.raises is not None:
            raise self.raises
        return RenderedPrompt(pack_tokens([1, 2]), prompt)


@pytest.fixture
def slow() -> Iterator[SlowRenderer]:
    renderer = SlowRenderer()
    yield renderer
    renderer.go_on.set()


def make(renderer: Any, timeout: float) -> PromptThread:
    return PromptThread(renderer, timeout)


def test_a_prompt_has_a_deadline_and_so_has_one_that_waits_behind_it(slow: SlowRenderer) -> None:
    async def main() -> None:
        thread = make(slow, timeout=0.2)
        asked = [asyncio.ensure_future(thread.render(LONG + name)) for name in "ab"]
        for one in asked:
            with pytest.raises(TimedOut, match=r"could not be made within 0\.2 s"):
                await one
        slow.go_on.set()
        patient = make(slow, timeout=60)
        assert (await patient.render(LONG + "c")).num_tokens == 2
        assert LONG + "b" not in slow.begun, "nobody waited for it any more"
        thread.close()
        patient.close()

    asyncio.run(main())


def test_what_a_client_that_has_gone_waited_for_is_not_begun(slow: SlowRenderer) -> None:
    async def main() -> None:
        thread = make(slow, timeout=60)
        first = asyncio.ensure_future(thread.render(LONG))
        gone = [asyncio.ensure_future(thread.render(f"{LONG}{number}")) for number in range(4)]
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*gone, return_exceptions=True))
        slow.go_on.set()
        assert (await first).num_tokens == 2
        assert (await thread.render(LONG + "next")).num_tokens == 2
        assert slow.begun == [LONG, LONG + "next"]
        thread.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "raised", [StopIteration(), KeyError("x"), PromptError("refused")], ids=lambda error: type(error).__name__
)
def test_whatever_is_raised_comes_to_who_asked(slow: SlowRenderer, raised: BaseException) -> None:
    """What asyncio cannot carry would leave him waiting for ever."""
    slow.raises = raised
    slow.go_on.set()

    async def main() -> None:
        thread = make(slow, timeout=60)
        for prompt in ("short", LONG):
            with pytest.raises(Exception, match=r".+") as caught:
                await thread.render(prompt)
            assert not isinstance(caught.value, StopIteration | TimedOut)
        thread.close()

    asyncio.run(main())
