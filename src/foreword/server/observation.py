"""The observer behind a server: fed by the engine's thread, read by the event loop, at work in one thread of its own."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from foreword.engine import Engine
from foreword.events import Event, RequestFinished
from foreword.observe import Observer, PromptShape
from foreword.server.neutral import PromptForm
from foreword.server.prompts import PromptRenderer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who sent a request, and its prompt as it came."""

    tenant: str
    prompt: PromptForm


class Observation:
    """Events in, answers out. Reads prompts for the observer: it knows the tokenizer, the template, and what was sent."""

    def __init__(self, engine: Engine, renderer: PromptRenderer, observer: Observer | None = None):
        self.block_bytes = engine.block_bytes
        self.block_size = engine.config.block_size
        self.num_blocks = engine.cache.config.num_blocks
        self._clock = engine.clock
        self._vocab_size = engine.model.vocab_size
        self._renderer = renderer
        self._observer = observer or Observer()
        self._events: deque[Event] = deque()
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._shapes: OrderedDict[str, PromptShape | None] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-observer")

    def sink(self, event: Event) -> None:
        """Take an event of the engine; costs its thread next to nothing."""
        self._events.append(event)
        if isinstance(event, RequestFinished):
            self._worker.submit(self._digest)

    def asked(self, request_id: str, tenant: str, prompt: PromptForm) -> None:
        """A request is about to be given to the engine."""
        self._asked[request_id] = _Asked(tenant, prompt)
        while len(self._asked) > 2 * self._observer.config.recent_requests:
            self._asked.popitem(last=False)

    def kept(self) -> str:
        """How long requests can be explained, in words."""
        config = self._observer.config
        return f"The last {config.recent_requests} requests are kept, up to {config.recent_tokens} tokens in all."

    def now(self) -> float:
        """The engine's clock, in seconds."""
        return self._clock()

    async def read(self, function: Callable[[Observer], T]) -> T:
        """What a function makes of the observer; all events so far are taken."""

        def work() -> T:
            self._digest()
            return function(self._observer)

        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def decode(self, token_ids: list[int]) -> str:
        """The text of tokens as the cache saw them: ids of a tenant's own part may be moved by whole vocabularies."""
        return self._renderer.decode([token % self._vocab_size for token in token_ids])

    def shape(self, request_id: str) -> PromptShape | None:
        """What a request's prompt was made of; None if it was no conversation, or has been forgotten."""
        if request_id not in self._shapes:
            asked = self._asked.get(request_id)
            self._shapes[request_id] = None if asked is None else self._renderer.shape(asked.prompt)
            while len(self._shapes) > 64:
                self._shapes.popitem(last=False)
        return self._shapes[request_id]

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _digest(self) -> None:
        while self._events:
            event = self._events.popleft()
            if isinstance(event, RequestFinished) and event.request_id in self._asked:
                event = replace(event, tenant=self._asked[event.request_id].tenant)
            self._observer(event)
