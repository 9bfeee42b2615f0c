"""A real server in a thread, on a free port, as tests talk to it."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from foreword.engine import Engine
from foreword.server.app import Server
from foreword.server.build import make_server
from foreword.server.tenants import Tenants
from foreword.serving.config import ServerConfig
from foreword.serving.log import make_log
from foreword.serving.service import Service


@dataclass
class Live:
    """A running server. ``log`` is what it wrote; ``engine`` must only be looked at when nothing runs."""

    url: str
    server: Server
    service: Service
    engine: Engine
    log_text: io.StringIO

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=240, **options)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_text.getvalue().splitlines()]

    def settle(self, seconds: float = 20.0) -> None:
        """Wait until nothing runs; then no request, no block is held, and the cache's books add up."""
        end = time.monotonic() + seconds
        while self.engine.has_unfinished_requests() or self.service.open_requests:
            assert time.monotonic() < end, "requests are still open"
            time.sleep(0.01)
        assert not self.engine.scheduler.waiting
        assert not self.engine.scheduler.running
        assert self.engine.usage().held_blocks == 0
        self.engine.cache.check_integrity()


@contextmanager
def live_server(make_engine: Callable[[], Engine], tenants: Tenants | None = None, **options: Any) -> Iterator[Live]:
    """Serve until the block ends."""
    made: list[Engine] = []

    def make() -> Engine:
        made.append(make_engine())
        return made[0]

    log_text = io.StringIO()
    config = ServerConfig(**{"port": 0, "drain_timeout": 5.0, **options})
    server = make_server(make, config, tenants or Tenants({}), make_log(log_text))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield Live(url, server, server.config.app.state.service, made[0], log_text)
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive(), "the server did not stop"
