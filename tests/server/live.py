"""A real server in a thread, on a free port, as tests talk to it."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from engine.models import load_once
from foreword.cache import CopyBlock
from foreword.engine import Engine, EngineConfig
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.build import make_parts
from foreword.engine.runner import Runner, Sampled, Step
from foreword.observe import ObserverConfig
from foreword.server.build import make_server
from foreword.server.server import Server
from foreword.server.tenants import Tenants
from foreword.serving.config import ServerConfig
from foreword.serving.log import make_log
from foreword.serving.service import Service
from foreword.tokens import unpack_tokens


class HandledRunner:
    """A model's runner in a test's hand.

    before
        Called with each step, in the engine's thread, before it is computed; what it raises, the step raises.
    says
        Token ids that every continuation gets in place of those that are sampled, and end tokens after them; None: its own.
    """

    def __init__(self, model: Runner, end_token: int):
        self.before: Callable[[Step], object] = _nothing
        self.says: list[int] | None = None
        self._model = model
        self._end_token = end_token

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        self._model.carry_out(actions)

    def run(self, step: Step) -> list[Sampled]:
        self.before(step)
        found = self._model.run(step)
        says = self.says
        if says is None:
            return found
        said = []
        for chunk, sampled in zip(step.chunks, found, strict=True):
            place = chunk.end - len(chunk.draft) - chunk.num_prompt_tokens
            token = says[place] if 0 <= place < len(says) else self._end_token
            said.append(replace(sampled, tokens=tuple(replace(each, token=token) for each in sampled.tokens[:1])))
        return said


@dataclass
class Live:
    """A running server. ``log`` is what it wrote; ``engine`` must only be looked at when nothing runs."""

    url: str
    server: Server
    service: Service
    engine: Engine
    runner: HandledRunner
    log_text: io.StringIO

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text, by the model's tokenizer."""
        return unpack_tokens(self.engine.text.tokenizer.tokens(text, add_special_tokens))

    @contextmanager
    def before_steps(self, function: Callable[[Step], object]) -> Iterator[None]:
        """Call a function before each step of the engine, as long as the block lasts."""
        self.runner.before = function
        try:
            yield
        finally:
            self.runner.before = _nothing

    @contextmanager
    def model_says(self, text: str) -> Iterator[None]:
        """Have the model write a text, whatever it is asked."""
        self.runner.says = self.encode(text, add_special_tokens=False)
        try:
            yield
        finally:
            self.runner.says = None

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=240, **options)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_text.getvalue().splitlines()]

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until nothing runs; then no request, no block is held, and the cache's books add up."""
        end = time.monotonic() + seconds
        while self.engine.has_unfinished_requests() or self.service.open_requests or self.engine.usage().held_blocks:
            assert time.monotonic() < end, "requests are still open, or blocks held"
            time.sleep(0.01)
        assert not self.engine.scheduler.waiting
        assert not self.engine.scheduler.running
        self.engine.check_integrity()


def _nothing(_: Step) -> None:
    pass


@contextmanager
def live_server(
    engine_config: EngineConfig,
    tenants: Tenants | None = None,
    observer: ObserverConfig | None = None,
    clock: Callable[[], float] = time.monotonic,
    served_model_name: str | None = None,
    **options: Any,
) -> Iterator[Live]:
    """Serve until the block ends."""
    made: list[tuple[Engine, HandledRunner]] = []

    def make() -> Engine:
        parts = make_parts(engine_config, load_once)
        runner = HandledRunner(parts.runner, min(parts.info.end_token_ids))
        made.append((parts.engine(clock=clock, runner=runner), runner))
        return made[0][0]

    log_text = io.StringIO()
    names = {} if served_model_name is None else {"served_model_names": (served_model_name,)}
    config = ServerConfig(**{"port": 0, "drain_timeout": 5.0, **names, **options})
    llm = AsyncEngine(make, config.idle_check_seconds)
    server = make_server(llm, config, tenants or Tenants({}), make_log(log_text), observer)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield Live(url, server, server.parts.service, *made[0], log_text)
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive(), "the server did not stop"
