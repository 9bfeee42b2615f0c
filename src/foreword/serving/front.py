"""What serving asks of an engine: requests go in, what is new comes back. ``AsyncEngine`` is one; tests make another."""

from collections.abc import Callable
from typing import Protocol

from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.request import EngineRequest
from foreword.engine.stream import RequestEnd
from foreword.engine.tier_state import TierState
from foreword.events import EventSink
from foreword.outputs import Delta


class DeltaStream(Protocol):
    """The answer to one request, for one reader."""

    async def next(self) -> Delta:
        """What is new since the last time, at least one token or an end. Raises the request's error."""
        ...

    def give_up(self, error: Exception) -> None:
        """Nobody waits any longer: its reader gets the error now, and the request is aborted as by ``close``."""
        ...

    def close(self) -> None:
        """Nobody reads any more: the request is aborted before the next step if it has not ended."""
        ...


class EngineFront(Protocol):
    """An engine that runs by itself. To be called from an event loop."""

    @property
    def info(self) -> EngineInfo:
        """What never changes."""
        ...

    @property
    def text(self) -> ModelText:
        """The model's tokenizer and chat template."""
        ...

    @property
    def state(self) -> EngineState:
        """The engine after its last step."""
        ...

    @property
    def tier_state(self) -> TierState | None:
        """The stores below the engine's memory; None where there are none."""
        ...

    @property
    def death(self) -> Exception | None:
        """What ended the engine; None while it takes requests."""
        ...

    def now(self) -> float:
        """The engine's clock, in seconds."""
        ...

    def submit(self, request: EngineRequest, on_end: Callable[[RequestEnd], None]) -> DeltaStream:
        """Queue a request. PromptError, ParameterError and Unavailable are raised here, before anything is queued.

        ``on_end`` is called once, when a request that was queued has ended.
        """
        ...

    def abort_all(self, error: Exception) -> None:
        """End all requests before the next step; their readers get the error."""
        ...

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """From now on tell ``sink`` too of what happens, in the engine's thread. Returns what ends that."""
        ...

    def close(self) -> None:
        """End the engine; whoever still reads gets an error."""
        ...
