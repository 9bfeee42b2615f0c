"""What a server is put together from, in one record: the app's state."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreword.server.limited_log import LimitedLog
from foreword.server.passed_over import PassedOver
from foreword.server.reading_thread import ReadingThread
from foreword.server.tenants import KeyRing
from foreword.serving.config import ServerConfig
from foreword.serving.fleet_view import FleetView
from foreword.serving.front import EngineFront
from foreword.serving.log import Log
from foreword.serving.metrics import Metrics
from foreword.serving.observation import Observation
from foreword.serving.prompt_thread import PromptThread
from foreword.serving.service import Service
from foreword.serving.trace_file import TraceFile

if TYPE_CHECKING:
    from foreword.serving.kv_publisher import KVEventPublisher


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The parts of one server. ``close`` ends their threads, the engine's too.

    limited_log
        For lines that a client could cause without end.
    passed_over
        Tells which fields of requests are not used.
    fleet
        Tells of the replicas behind ``front``; None where that is one engine.
    """

    config: ServerConfig
    tenants: KeyRing
    front: EngineFront
    reading: ReadingThread
    prompts: PromptThread
    service: Service
    metrics: Metrics
    log: Log
    limited_log: LimitedLog
    passed_over: PassedOver
    observation: Observation
    trace: TraceFile | None = None
    kv_events: "KVEventPublisher | None" = None
    fleet: FleetView | None = None

    def close(self) -> None:
        """End the threads. Whoever still waits for an answer gets an error."""
        self.front.close()
        self.reading.close()
        self.prompts.close()
        self.observation.close()
        if self.trace is not None:
            self.trace.close()
        if self.kv_events is not None:
            self.kv_events.close()
