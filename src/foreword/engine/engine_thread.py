"""The engine in a thread of its own, and the bridge from asyncio to it.

Only this thread touches the engine. Callers leave commands in a queue, which is read before every step; it is the bell as
well on which the thread sleeps while there is nothing to compute. What a step brings goes to an event loop in one call, and
is what is new. Why a thread and not a process: docs/explanation/notes/engine-thread.md.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from foreword.engine.engine import STORE_SECONDS, Engine, StepOutcome, StepState
from foreword.engine.generation import Generation
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.request import EngineRequest
from foreword.engine.stream import OnEnd, Stream
from foreword.engine.tier_state import TierState
from foreword.errors import InputError, IntegrityError, StepFailed, Unavailable
from foreword.faults import NO_FAULTS, fault_lines, kind_of, run_carriable
from foreword.outputs import Delta

logger = logging.getLogger("foreword")
T = TypeVar("T")

Delivery = tuple[Stream, Delta | None, Exception | None]


@dataclass(frozen=True, slots=True)
class EngineFace:
    """What of an engine never changes, or may be read from any thread."""

    info: EngineInfo
    text: ModelText
    clock: Callable[[], float]
    tier_state: Callable[[], TierState | None]


class EngineThread:
    """Runs an engine until ``stop``. What escapes a step ends the thread, and every reader gets an error.

    ``idle_check_seconds``: after so long without work the cache's books are checked once.
    """

    def __init__(self, make_engine: Callable[[], Engine], idle_check_seconds: float = 10.0):
        self._make_engine = make_engine
        self._idle_check_seconds = idle_check_seconds
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between leaving a command and the thread's end
        self._started: Future[EngineFace] = Future()
        self._death: Exception | None = None
        self._reason: Exception = Unavailable("The engine has been stopped.")
        self._streams: dict[Generation, Stream] = {}  # only the engine's thread uses it
        self._state: EngineState | None = None
        self._thread = threading.Thread(target=self._main, name="foreword-engine", daemon=True)

    def start(self) -> EngineFace:
        """Make the engine, in its thread; returns what may be read of it. Raises what making it raised."""
        self._thread.start()
        return self._started.result()

    @property
    def death(self) -> Exception | None:
        """What ended the thread; None while it takes requests."""
        return self._death

    @property
    def state(self) -> EngineState:
        """The engine's as it was after the last step."""
        assert self._state is not None, "the engine has been started"
        return self._state

    def submit(self, request: EngineRequest, on_end: OnEnd | None = None) -> Stream:
        """Queue a request, in a running event loop and without waiting for the engine. Unavailable when the thread is dead.

        Should the engine not take it, its reader and ``on_end`` are told why.
        """
        stream = Stream(self._abort_stream, on_end)
        self.leave(lambda engine: self._add(engine, request, stream)).add_done_callback(partial(_tell_if_refused, stream))
        return stream

    async def call(self, function: Callable[[Engine], T]) -> T:
        """Run a function on the engine, between two steps. Raises what it raises; Unavailable when the thread is dead.

        Requests that it ends tell their readers so; those that it adds have none.
        """

        def run(engine: Engine) -> T:
            try:
                return function(engine)
            finally:
                self._tell_ended()

        return await asyncio.wrap_future(self.leave(run))

    def leave(self, function: Callable[[Engine], T]) -> "Future[T]":
        """Have a function run on the engine before the next step, without waiting. Unavailable when the thread is dead."""
        command = _Command(function, Future())
        with self._lock:
            if self._death is not None:
                raise Unavailable(str(self._death)) from self._death
            self._commands.put(command)
        return command.result

    def abort(self, request_id: str) -> None:
        """End a request before the next step; nothing if it has ended."""
        with contextlib.suppress(Unavailable):
            self.leave(lambda engine: self._abort(engine, request_id, _aborted()))

    def abort_all(self, error: Exception) -> None:
        """End all requests before the next step; their readers get the error."""
        with contextlib.suppress(Unavailable):
            self.leave(lambda engine: self._abort_all(engine, error))

    def ring(self) -> None:
        """From any thread: wake the engine's thread, if it sleeps, to look again whether it can go on."""
        self._commands.put(_Command(lambda _: None, Future()))

    def stop(self, reason: Exception, timeout: float = 60.0) -> None:
        """End the thread after the step under way; whoever still reads, or asks later, gets ``reason``."""
        self._reason = reason
        self._commands.put(None)
        self._thread.join(timeout)

    def _main(self) -> None:
        try:
            engine = self._make_engine()
            engine.on_arrival(self.ring)
        except BaseException as error:
            self._death = Unavailable(f"The engine could not be made: {error}")
            self._started.set_exception(error)
            return
        self._state = engine.state()
        self._started.set_result(EngineFace(engine.info, engine.text, engine.clock, engine.tier_state))
        try:
            self._loop(engine)
            engine.close(STORE_SECONDS)
            self._end(self._reason)
        except BaseException as error:
            logger.critical("The engine's thread has died; no request can be answered any more.\n%s", fault_lines(error))
            self._end(Unavailable(f"The engine has died: {kind_of(error)}. The server must be restarted."))

    def _loop(self, engine: Engine) -> None:
        asleep = True
        while self._take_commands(engine, asleep):
            outcome = engine.step()
            self._publish(outcome)
            self._state = engine.state()
            asleep = outcome.state is StepState.AWAITING or not engine.has_unfinished_requests()

    def _take_commands(self, engine: Engine, asleep: bool) -> bool:
        """Run the commands that are there; ``asleep``, wait for one. False: the thread is to end."""
        while True:
            try:
                command = self._await_command(engine) if asleep else self._commands.get_nowait()
            except queue.Empty:
                return True
            if command is None:
                return False
            asleep = False
            command.run(engine)

    def _await_command(self, engine: Engine) -> "_Command | None":
        """The next command; the cache's books are checked once if none comes for a while."""
        try:
            return self._commands.get(timeout=self._idle_check_seconds)
        except queue.Empty:
            engine.check_integrity()
            return self._commands.get()

    def _add(self, engine: Engine, request: EngineRequest, stream: Stream) -> None:
        generation = engine.add_request(request)
        stream.attach(generation)
        self._streams[generation] = stream
        if generation.finished:
            self._tell_ended()

    def _abort_stream(self, stream: Stream) -> None:
        """End a stream's request before the next step, also if the engine has not taken it yet."""
        with contextlib.suppress(Unavailable):
            self.leave(lambda engine: self._abort(engine, stream.request_id, _aborted()))

    def _abort(self, engine: Engine, request_id: str | None, error: Exception) -> None:
        if request_id is None:
            return
        generation = engine.abort(request_id)
        stream = None if generation is None else self._streams.pop(generation, None)
        if stream is not None:
            _deliver([(stream, stream.take(), error)])

    def _abort_all(self, engine: Engine, error: Exception) -> None:
        for generation in list(self._streams):
            self._abort(engine, generation.request_id, error)

    def _publish(self, outcome: StepOutcome) -> None:
        """Give readers what a step brought."""
        deliveries: list[Delivery] = []
        for generation in outcome.news:
            stream = self._streams.get(generation)
            if stream is None:
                continue  # it was added past this thread's door, and nobody reads it
            if generation.finished:
                del self._streams[generation]
            deliveries.append((stream, stream.take(), generation.error))
        _deliver(deliveries)

    def _tell_ended(self) -> None:
        """Tell the readers of requests that were ended past this thread's door: by a function that was called."""
        ended = [(generation, stream) for generation, stream in self._streams.items() if generation.finished]
        for generation, stream in ended:
            del self._streams[generation]
            aborted = any(each.finish_reason == "abort" for each in generation.continuations)
            _deliver([(stream, stream.take(), generation.error or (_aborted() if aborted else None))])

    def _end(self, reason: Exception) -> None:
        """Take no more commands, and tell all who wait."""
        with self._lock:
            self._death = reason
        while not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command.fail(reason)
        _deliver([(stream, None, reason) for stream in self._streams.values()])
        self._streams.clear()


def _aborted() -> StepFailed:
    return StepFailed("The request was aborted.")


def _tell_if_refused(stream: Stream, taken: "Future[None]") -> None:
    error = taken.exception()
    if isinstance(error, Exception):
        _deliver([(stream, None, error)])


def _deliver(deliveries: Iterable[Delivery]) -> None:
    """Hand news over to the event loops of their readers, as far as these still run: one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_loop[delivery[0].loop].append(delivery)
    for loop, batch in by_loop.items():
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver_here, batch)


def _deliver_here(batch: list[Delivery]) -> None:
    for stream, delta, error in batch:
        stream.deliver(delta, error)


@dataclass(frozen=True, slots=True)
class _Command:
    """A function to run on the engine between two steps, and where its result goes."""

    function: Callable[[Engine], Any]
    result: "Future[Any]"

    def run(self, engine: Engine) -> None:
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            self.result.set_result(run_carriable(lambda: self.function(engine), "A call to the engine"))
        except InputError as error:
            self.result.set_exception(error)
        except NO_FAULTS as error:  # the thread ends with it
            self.result.set_exception(Unavailable(f"A command ended the engine: {type(error).__name__}."))
            raise
        except BaseException as error:
            logger.error("A command to the engine failed.\n%s", fault_lines(error))
            self.result.set_exception(error)
            if isinstance(error, IntegrityError):
                raise

    def fail(self, error: Exception) -> None:
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)
