"""From an engine and options to a server that is ready to run."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from foreword.engine.info import EngineInfo
from foreword.lazy import extra_needed
from foreword.observe import ObserverConfig
from foreword.prompt.round_trip import changed_samples
from foreword.server.app import create_app
from foreword.server.limited_log import LimitedLog
from foreword.server.parts import ServerParts
from foreword.server.passed_over import PassedOver
from foreword.server.reading_thread import ReadingThread
from foreword.server.server import Announce, Process, Server
from foreword.server.tenants import KeyRing, Tenants, check_operators
from foreword.serving.config import ServerConfig
from foreword.serving.events import EventMetrics
from foreword.serving.fleet_view import FleetView
from foreword.serving.front import EngineFront
from foreword.serving.journal import Journal
from foreword.serving.log import Log, make_log
from foreword.serving.metrics import LOG_LINES_DROPPED, Metrics
from foreword.serving.observation import Observation
from foreword.serving.prompt_thread import PromptThread
from foreword.serving.rendering import PromptRenderer
from foreword.serving.served_model import ServedModel
from foreword.serving.service import Service
from foreword.serving.trace_file import TraceFile, open_trace

if TYPE_CHECKING:
    from foreword.serving.kv_publisher import KVEventPublisher


def make_server(
    front: EngineFront,
    config: ServerConfig,
    tenants: Tenants,
    log: Log | None = None,
    observer: ObserverConfig | None = None,
    announce: Announce | None = None,
    process: Process | None = None,
    fleet: FleetView | None = None,
) -> Server:
    """Put an app over an engine that runs. ``Server.run()`` serves until it is told to stop, and closes the engine.

    ``observer``: options of what /v1/cache and the dashboard tell. ``announce`` is called with the host and port of each
    address, once the server listens there. ``process``: what the process around the server hands it. ``fleet``: who tells of
    the replicas, where ``front`` is a fleet. ConfigError for options that do not fit the tenants.
    """
    process = process or Process()
    return Server(create_app(make_parts(front, config, tenants, log, observer, process, fleet)), process, announce)


def make_parts(
    front: EngineFront,
    config: ServerConfig,
    tenants: Tenants,
    log: Log | None = None,
    observer: ObserverConfig | None = None,
    process: Process | None = None,
    fleet: FleetView | None = None,
) -> ServerParts:
    """What an app stands on, over an engine that runs; see make_server."""
    check_operators(config.operators, tenants)
    log, process = log or make_log(), process or Process()
    info = front.info
    model = ServedModel(config.served_model_names or (info.model_name,), info.max_model_len, int(time.time()))
    metrics = Metrics(
        model.name, state=lambda: front.state, alive=lambda: front.death is None, tier=lambda: front.tier_state
    )
    metrics.watch_counter(*LOG_LINES_DROPPED, lambda: sum(output.dropped for output in process.outputs))
    observer = observer or ObserverConfig(minimum_tokens=config.min_cached_tokens)
    renderer = PromptRenderer(front.text, model.name)
    for text, again in changed_samples(front.text.tokenizer):
        log.warning("tokenizer", note="a text does not come back from its tokens as it was", text=text, again=again)
    observation = Observation(info, front.now, renderer, observer)
    trace = None if config.trace is None else TraceFile(open_trace(Path(config.trace)), front.now(), log)
    kv_events = None if config.kv_events is None else _kv_events(config, info, log)
    front.subscribe(EventMetrics(info, front.now, metrics))
    for listener in (observation, trace, kv_events):
        if listener is not None:
            front.subscribe(listener.sink)
    prompts = PromptThread(renderer, config.request_timeout)
    journal = Journal(front.now, model.name, metrics, log, observation, config)
    service = Service(front, prompts, journal, config, model)
    keys, limited_log = KeyRing(tenants, process.load_tenants), LimitedLog(log, time.monotonic)
    passed_over = PassedOver(log)
    return ServerParts(
        config, keys, front, ReadingThread(), prompts, service, metrics, log, limited_log, passed_over, observation,
        trace, kv_events, fleet,
    )  # fmt: skip


def _kv_events(config: ServerConfig, info: EngineInfo, log: Log) -> "KVEventPublisher":
    """What publishes the cache's events. ImportError where its packages are missing, ConfigError where it cannot bind."""
    with extra_needed("--kv-events", "kv-events"):
        from foreword.serving.kv_publisher import KVEventPublisher, KVSockets
    assert config.kv_events is not None
    sockets = KVSockets.bind(config.kv_events, config.kv_events_replay)
    log.info("kv events", at=sockets.endpoint, replay=sockets.replay_endpoint)
    return KVEventPublisher(sockets, info, log, config.kv_events_topic)
