"""Rendering of prompts for an event loop: short ones at once, long ones in a thread, one after the other."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from foreword.errors import TimedOut
from foreword.faults import run_carriable
from foreword.prompt.chat import PromptForm
from foreword.serving.fair_threads import FairThreads
from foreword.serving.rendering import PromptRenderer, RenderedPrompt, is_short
from foreword.tokens import unpack_tokens

T = TypeVar("T")
WHAT = "Making the prompt"
GRAMMAR_THREADS = 2
"""One goes on where a tenant sends forms that take long."""


class PromptThread:
    """A renderer and its thread. ``close`` ends the thread.

    timeout
        Seconds that a prompt may wait and take; then whoever asked gets TimedOut. One that nobody waits for any more is
        dropped if it has not begun.
    """

    def __init__(self, renderer: PromptRenderer, timeout: float):
        self._renderer = renderer
        self._timeout = timeout
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-prompts")
        self._grammars = FairThreads(GRAMMAR_THREADS, "foreword-grammars")

    async def render(self, prompt: PromptForm, find_public_part: bool = False) -> RenderedPrompt:
        """Render and tokenize a prompt; PromptError where the template or the tokenizer does not take it."""
        if is_short(prompt) and not find_public_part:
            return run_carriable(lambda: self._renderer.render(prompt), WHAT)
        return await self._run(lambda: self._renderer.render(prompt, find_public_part))

    async def tokens_of(self, text: str) -> bytes:
        """The packed tokens of a text that is no prompt; PromptError where the tokenizer does not take it."""
        if is_short(text):
            return run_carriable(lambda: self._renderer.tokens_of(text), WHAT)
        return await self._run(lambda: self._renderer.tokens_of(text))

    async def text_of(self, prompt: PromptForm) -> str:
        """A prompt's text, also where it was given as token ids."""
        rendered = await self.render(prompt)
        if rendered.text is not None:
            return rendered.text
        return await self._run(lambda: self._renderer.decode(unpack_tokens(rendered.tokens)))

    async def grammar(self, tenant: str, make: Callable[[], T]) -> T:
        """Make the grammar of a tenant's answer, in threads of their own: one that takes long holds up no prompt."""
        return await self._in_time(self._grammars.run(tenant, lambda: run_carriable(make, WHAT)))

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._grammars.close()

    async def _run(self, function: Callable[[], T]) -> T:
        return await self._in_time(asyncio.get_running_loop().run_in_executor(self._worker, run_carriable, function, WHAT))

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except TimeoutError:
            raise TimedOut(
                f"The prompt could not be made within {self._timeout:g} s. Send a shorter one, or try again later."
            ) from None
