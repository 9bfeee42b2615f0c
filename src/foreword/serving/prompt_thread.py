"""Rendering of prompts for an event loop: short ones at once, long ones in a thread, one after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from foreword.prompt.chat import PromptForm
from foreword.serving.rendering import PromptRenderer, RenderedPrompt, is_short
from foreword.tokens import unpack_tokens

T = TypeVar("T")


class PromptThread:
    """A renderer and its thread. ``close`` ends the thread."""

    def __init__(self, renderer: PromptRenderer):
        self._renderer = renderer
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-prompts")

    async def render(self, prompt: PromptForm, find_public_part: bool = False) -> RenderedPrompt:
        """Render and tokenize a prompt; PromptError where the template or the tokenizer does not take it."""
        if is_short(prompt) and not find_public_part:
            return self._renderer.render(prompt)
        return await self._run(lambda: self._renderer.render(prompt, find_public_part))

    async def text_of(self, prompt: PromptForm) -> str:
        """A prompt's text, also where it was given as token ids."""
        rendered = await self.render(prompt)
        if rendered.text is not None:
            return rendered.text
        return await self._run(lambda: self._renderer.decode(unpack_tokens(rendered.tokens)))

    def close(self) -> None:
        """End the thread; what has not begun is dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)
