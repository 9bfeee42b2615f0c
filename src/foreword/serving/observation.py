"""The observer behind a server: fed by the engine's thread, read by the event loop, at work in one thread of its own."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from foreword.engine.info import EngineInfo
from foreword.events import Event
from foreword.observe import Observer, ObserverConfig, Prefix, PromptShape
from foreword.prompt.chat import PromptForm
from foreword.serving.rendering import PromptRenderer

T = TypeVar("T")
SIZES = tuple(2.0**power for power in range(-4, 5))  # of the curve, as multiples of today's cache
LABELLED = 8  # new prefixes that are looked at each time

_Edge = tuple[int, int, int]  # number, start, end of a prefix


class Observation:
    """Events in, answers out. Reads prompts for the observer: it knows the tokenizer, the template, and what was sent.

    now
        The engine's clock, in seconds.
    config
        Of the observer; the sizes of its curve follow from the engine's cache.
    """

    def __init__(
        self, info: EngineInfo, now: Callable[[], float], renderer: PromptRenderer, config: ObserverConfig | None = None
    ):
        self.now = now
        self.bytes_per_token = info.bytes_per_token
        self.cache_tokens = info.cache_tokens
        self.curve_sizes = tuple(max(1, round(self.cache_tokens * size)) for size in SIZES)
        self._renderer = renderer
        self._observer = Observer(replace(config or ObserverConfig(), curve_sizes=self.curve_sizes))
        self._events: deque[Event] = deque()
        self._asked: OrderedDict[str, PromptForm] = OrderedDict()
        self._shapes: OrderedDict[str, PromptShape | None] = OrderedDict()
        self._labels: dict[_Edge, str] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-observer")
        self._digest_is_due = False

    def sink(self, event: Event) -> None:
        """Take an event of the engine; costs its thread next to nothing."""
        self._events.append(event)

    def digest(self) -> None:
        """Let the observer have the events so far, in its own thread; to be called when no answer waits for this one."""
        if not self._digest_is_due:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._worker.submit(self._digest)
                self._digest_is_due = True

    def asked(self, request_id: str, prompt: PromptForm) -> None:
        """A request is about to be given to the engine: its prompt is kept, to explain where in it a hit ended."""
        self._asked[request_id] = prompt
        while len(self._asked) > 2 * self._observer.config.recent_requests:
            self._asked.popitem(last=False)

    def kept(self) -> str:
        """How long requests can be explained, in words."""
        config = self._observer.config
        return f"The last {config.recent_requests:,} requests are kept, up to {config.recent_tokens:,} tokens in all."

    async def read(self, function: Callable[[Observer], T]) -> T:
        """What a function makes of the observer; all events so far are taken."""

        def work() -> T:
            self._digest()
            return function(self._observer)

        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def decode(self, token_ids: list[int]) -> str:
        """The text of tokens."""
        return self._renderer.decode(token_ids)

    def shape(self, request_id: str) -> PromptShape | None:
        """What a request's prompt was made of; None if it was no conversation, or has been forgotten."""
        if request_id not in self._shapes:
            asked = self._asked.get(request_id)
            self._shapes[request_id] = None if asked is None else self._renderer.shape(asked)
            while len(self._shapes) > 64:
                self._shapes.popitem(last=False)
        return self._shapes[request_id]

    def labels(self, observer: Observer, prefixes: Sequence[Prefix]) -> dict[int, str]:
        """Where in conversations prefixes stand ("system to message 2 (user)"), by number; empty where that is not known.

        Of those that are new, a few are looked at each time, the most prominent first.
        """
        by_number = {prefix.number: prefix for prefix in prefixes}
        known: dict[_Edge, str] = {}
        new = 0
        for prefix in sorted(prefixes, key=lambda prefix: (prefix.end - prefix.start) * prefix.requests, reverse=True):
            edge = (prefix.number, prefix.start, prefix.end)
            if edge in self._labels:
                known[edge] = self._labels[edge]
            elif new < LABELLED:
                new += 1
                known[edge] = self._label(observer, prefix, by_number)
        self._labels = known
        return {number: label for (number, _, _), label in known.items()}

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _label(self, observer: Observer, prefix: Prefix, by_number: dict[int, Prefix]) -> str:
        way = [prefix.tokens]
        parent = prefix.parent
        while parent is not None:
            way.append(by_number[parent].tokens)
            parent = by_number[parent].parent
        request = observer.recent.beginning_with(prefix.namespace, b"".join(reversed(way)))
        shape = None if request is None else self.shape(request.request_id)
        if shape is None:
            return ""
        first, last = shape.label_at(prefix.start), shape.label_at(prefix.end - 1)
        return first if first == last else f"{first} to {last}"

    def _digest(self) -> None:
        self._digest_is_due = False
        while self._events:
            self._observer(self._events.popleft())
