"""The running server: uvicorn with a keeper of connections, signals that an operator can rely on, and an end in order."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import _exit
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from foreword.errors import ForewordError
from foreword.server.connections import Connections, Patience
from foreword.server.http1 import BoundedProtocol
from foreword.server.open_files import connection_room
from foreword.server.parts import ServerParts
from foreword.server.tenants import Tenants
from foreword.serving.metrics import CONNECTIONS
from foreword.serving.output import QueuedOutput

Announce = Callable[[str, int], object]
"""Told the host and the port of an address that the server listens on."""

LOOKS_AFTER = 0.25
"""Seconds between two looks at connections and signals."""
LAST_WORDS = 0.5
"""Seconds for what is still to be written when the process ends at once."""


@dataclass(frozen=True, slots=True)
class Process:
    """What the process around a server hands it.

    outputs
        Through which it writes: their losses are counted.
    signals
        Numbers of signals that have come and are to be acted upon.
    load_tenants
        Reads the API keys again; None: there is no file to read.
    """

    outputs: Sequence[QueuedOutput] = ()
    signals: deque[int] = field(default_factory=deque)
    load_tenants: Callable[[], Tenants] | None = None


class Server(uvicorn.Server):
    """uvicorn, which before it closes connections lets the service answer, or refuse, what is open.

    ended_by
        The signal that told it to end; None: none did.
    """

    def __init__(self, app: FastAPI, process: Process, announce: Announce | None = None):
        self.parts: ServerParts = app.state.parts
        self.ended_by: int | None = None
        self._process = process
        self._announce = announce
        config = self.parts.config
        self._room = room = connection_room(config.max_connections)
        patience = Patience.of(config)
        self.connections = Connections(room.connections, patience, self.parts.limited_log)
        self.parts.metrics.watch_gauge(*CONNECTIONS, lambda: len(self.connections))
        protocol: Any = partial(BoundedProtocol, self.connections)
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
                http=protocol,
                ws="none",
                access_log=False,
                proxy_headers=False,
                log_level="warning",
                backlog=room.waiting,
                timeout_keep_alive=config.keep_alive_timeout,
                timeout_graceful_shutdown=5,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        self._looking_after = asyncio.create_task(self._look_after())
        model, share = self.parts.service.model.name, self.parts.config.share
        if self._room.warning is not None:
            self.parts.log.warning("few connections", reason=self._room.warning)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                self.parts.log.info("serving", url=f"http://{host}:{port}", model=model, share=share)
                if self._announce is not None:
                    self._announce(host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close."""
        await self.parts.service.drain()
        await super().shutdown(sockets)
        self._looking_after.cancel()
        self.parts.limited_log.tell_of_kept_back(all_of_them=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server; a second one ends the process. Whoever runs it acts upon ``ended_by``."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs between any two instructions: it takes no lock that they may hold."""
        del frame
        name = signal.Signals(sig).name
        if self.ended_by is not None:
            _say(f"{name} once more: ended at once, with {self.parts.service.open_requests} requests unanswered.")
            self._end_at_once(sig)
        self.ended_by, self.should_exit = sig, True
        seconds = self.parts.config.drain_timeout
        _say(f"{name}: {self.parts.service.open_requests} open requests have {seconds:g} s; once more ends at once.")

    def _end_at_once(self, number: int) -> None:
        for output in self._process.outputs:
            output.settle(LAST_WORDS)
        end_process(number)

    async def _look_after(self) -> None:
        """Until the end: connections that keep the server waiting, signals, lines that were kept back."""
        while True:
            await asyncio.sleep(LOOKS_AFTER)
            try:
                self.connections.look_after(asyncio.get_running_loop().time())
                self.parts.limited_log.tell_of_kept_back()
                while self._process.signals:
                    await self._act_upon(self._process.signals.popleft())
            except Exception as error:
                self.parts.log.error("failure", exc_info=error)

    async def _act_upon(self, number: int) -> None:
        log, keys, name = self.parts.log, self.parts.tenants, signal.Signals(number).name
        if number != signal.SIGHUP:
            log.warning("signal ignored", signal=name, reason="SIGHUP reads API keys again, SIGTERM ends the server.")
        elif not keys.reloadable:
            log.warning("signal ignored", signal=name, reason="There is no file of API keys to read again.")
        else:
            try:
                new, gone = await asyncio.to_thread(keys.reload)
            except ForewordError as error:
                log.error("API keys kept", reason=f"{error} The keys of before stay.")
                return
            log.info("API keys read again", keys=len(keys.by_hash), new=new, gone=gone)
            for operator in set(self.parts.config.operators) - set(keys.by_hash.values()):
                log.warning("operator without a key", tenant=operator)


def end_process(number: int) -> None:
    """End the process as a signal ends one that does not handle it, so that a shell sees 128 + its number; no return."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    _exit(128 + number)  # the first process of a container is not ended by its own signals


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
