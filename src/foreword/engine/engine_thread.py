"""The engine in a thread of its own, and the bridge from asyncio to it.

Only this thread touches the engine. Callers leave commands in a queue, which is read before every step; what a step brings
goes to the event loop in one call. A reader that is slow gets the newest output and misses none of its text, because
outputs are cumulative: nothing piles up. Why a thread and not a process: docs/notes/engine-thread.md.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from foreword.cache import Mark, Usage
from foreword.engine import Engine, RequestOutput, SamplingParams
from foreword.errors import InputError, IntegrityError, StepFailed, Unavailable

logger = logging.getLogger("foreword.server")
T = TypeVar("T")
AFTER_ANSWER = 0.001
"""Seconds after which a request's end is told to ``on_end``: its reader, and the bytes it sends, go first."""

OnEnd = Callable[[RequestOutput | None, Exception | None], None]
"""Called once in the event loop when a request has ended: its last output, if it got one, and its error, if it has one."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The arguments of Engine.add_request."""

    request_id: str
    prompt: list[int]
    params: SamplingParams
    text: str | None = None
    tenant: str | None = None
    cache_salt: str | None = None
    public_tokens: int = 0
    marks: tuple[Mark, ...] = ()
    use_cache: bool = True
    stream: bool = True


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine between two steps."""

    running: int
    waiting: int
    preemptions: int
    usage: Usage


class OutputStream:
    """The outputs of one request, for one reader in one event loop. ``close`` aborts the request if it has not ended."""

    def __init__(self, request_id: str, abort: Callable[[str], None], on_end: OnEnd):
        self.request_id = request_id
        self._abort = abort
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._latest: RequestOutput | None = None
        self._error: Exception | None = None
        self._ended = False

    async def next(self) -> RequestOutput:
        """The newest output (outputs are cumulative); not to be asked for after the last. Raises the request's error."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        assert self._latest is not None
        return self._latest

    def close(self) -> None:
        """Nobody reads any more."""
        if not self._ended:
            self._abort(self.request_id)

    def call_soon(self, output: RequestOutput | None, error: Exception | None = None) -> None:
        """From the engine's thread: hand over an output, or an error, if the event loop still runs."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, output, error)

    def _deliver(self, output: RequestOutput | None, error: Exception | None) -> None:
        if self._ended:
            return
        self._latest, self._error = output, error or (output.error if output is not None else None)
        self._news.set()
        if output is None or output.finished:
            self._ended = True
            self._loop.call_later(AFTER_ANSWER, self._on_end, output, self._error)


class EngineThread:
    """Runs an engine until ``stop``. What escapes a step ends the thread, and every reader gets an error."""

    def __init__(self, make_engine: Callable[[], Engine], idle_check_seconds: float = 10.0):
        self._make_engine = make_engine
        self._idle_check_seconds = idle_check_seconds
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between leaving a command and the thread's end
        self._started: Future[Engine] = Future()
        self._death: Exception | None = None
        self._readers: dict[str, OutputStream] = {}  # only the engine's thread uses it
        self._thread = threading.Thread(target=self._main, name="foreword-engine", daemon=True)
        self.state = EngineState(0, 0, 0, Usage(0, 0, 0, 0, 0, 0))

    def start(self) -> Engine:
        """Make the engine, in its thread, and return it for reading what never changes. Raises what making it raised."""
        self._thread.start()
        return self._started.result()

    @property
    def death(self) -> Exception | None:
        """What ended the thread; None while it takes requests."""
        return self._death

    async def submit(self, request: EngineRequest, on_end: OnEnd) -> OutputStream:
        """Queue a request; returns once the engine has taken it. Raises PromptError or ParameterError if it has not.

        ``on_end`` is called only for a request that was taken.
        """
        stream = OutputStream(request.request_id, self.abort, on_end)
        try:
            await self.call(lambda engine: self._add(engine, request, stream))
        except asyncio.CancelledError:
            stream.close()
            raise
        return stream

    async def call(self, function: Callable[[Engine], T]) -> T:
        """Run a function on the engine, between two steps. Raises what it raises; Unavailable when the thread is dead."""
        return await asyncio.wrap_future(self._leave(function))

    def abort(self, request_id: str) -> None:
        """End a request before the next step; nothing if it has ended."""
        with contextlib.suppress(Unavailable):
            self._leave(lambda engine: self._abort(engine, request_id, StepFailed("The request was aborted.")))

    def abort_all(self, error: Exception) -> None:
        """End all requests before the next step; their readers get the error."""
        with contextlib.suppress(Unavailable):
            self._leave(lambda engine: self._abort_all(engine, error))

    def stop(self, timeout: float = 60.0) -> None:
        """End the thread after the step under way; whoever still reads gets an error."""
        self._commands.put(None)
        self._thread.join(timeout)

    def _leave(self, function: Callable[[Engine], T]) -> "Future[T]":
        command = _Command(function, Future())
        with self._lock:
            if self._death is not None:
                raise Unavailable(str(self._death)) from self._death
            self._commands.put(command)
        return command.result

    def _main(self) -> None:
        try:
            engine = self._make_engine()
        except BaseException as error:
            self._death = Unavailable(f"The engine could not be made: {error}")
            self._started.set_exception(error)
            return
        self._started.set_result(engine)
        try:
            self._loop(engine)
            self._end(Unavailable("The server is shutting down."))
        except BaseException as error:
            logger.critical("The engine's thread has died; no request can be answered any more.", exc_info=error)
            self._end(Unavailable(f"The engine has died: {type(error).__name__}: {error}. The server must be restarted."))

    def _loop(self, engine: Engine) -> None:
        while self._take_commands(engine):
            if engine.has_unfinished_requests():
                self._publish(engine.step())
            self._note_state(engine)

    def _take_commands(self, engine: Engine) -> bool:
        """Run the commands that are there; without work, wait for one. False: the thread is to end."""
        while True:
            try:
                command = self._commands.get_nowait() if engine.has_unfinished_requests() else self._await_command(engine)
            except queue.Empty:
                return True
            if command is None:
                return False
            command.run(engine)
            if self._commands.empty():
                return True

    def _await_command(self, engine: Engine) -> "_Command | None":
        """The next command; the cache's books are checked once if none comes for a while."""
        try:
            return self._commands.get(timeout=self._idle_check_seconds)
        except queue.Empty:
            engine.cache.check_integrity()
            return self._commands.get()

    def _add(self, engine: Engine, request: EngineRequest, stream: OutputStream) -> None:
        engine.add_request(
            request.prompt,
            request.params,
            text=request.text,
            tenant=request.tenant,
            cache_salt=request.cache_salt,
            public_tokens=request.public_tokens,
            marks=request.marks,
            use_cache=request.use_cache,
            request_id=request.request_id,
            stream=request.stream,
        )
        self._readers[request.request_id] = stream

    def _abort(self, engine: Engine, request_id: str, error: Exception) -> None:
        output = engine.abort(request_id)
        reader = self._readers.pop(request_id, None)
        if reader is not None:
            reader.call_soon(output, error)

    def _abort_all(self, engine: Engine, error: Exception) -> None:
        for request_id in list(self._readers):
            self._abort(engine, request_id, error)

    def _publish(self, outputs: list[RequestOutput]) -> None:
        """Give a step's outputs to their readers."""
        for output in outputs:
            reader = self._readers[output.request_id]
            if output.finished:
                del self._readers[output.request_id]
            reader.call_soon(output)

    def _note_state(self, engine: Engine) -> None:
        scheduler = engine.scheduler
        self.state = EngineState(len(scheduler.running), len(scheduler.waiting), scheduler.num_preemptions, engine.usage())

    def _end(self, reason: Exception) -> None:
        """Take no more commands, and tell all who wait."""
        with self._lock:
            self._death = reason
        while not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command.fail(reason)
        for reader in self._readers.values():
            reader.call_soon(None, reason)
        self._readers.clear()


@dataclass(frozen=True, slots=True)
class _Command:
    """A function to run on the engine between two steps, and where its result goes."""

    function: Callable[[Engine], Any]
    result: "Future[Any]"

    def run(self, engine: Engine) -> None:
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            self.result.set_result(self.function(engine))
        except InputError as error:
            self.result.set_exception(error)
        except Exception as error:
            logger.error("A command to the engine failed.", exc_info=error)
            self.result.set_exception(error)
            if isinstance(error, IntegrityError):
                raise

    def fail(self, error: Exception) -> None:
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)
