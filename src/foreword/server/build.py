"""From options to a server that is ready to run."""

from collections.abc import Callable

from foreword.engine import Engine
from foreword.engine.engine_thread import EngineThread
from foreword.server.app import Announce, Server, create_app
from foreword.server.tenants import Tenants
from foreword.serving.config import ServerConfig
from foreword.serving.log import Log, make_log
from foreword.serving.metrics import Metrics
from foreword.serving.service import Service


def make_server(
    make_engine: Callable[[], Engine],
    config: ServerConfig,
    tenants: Tenants,
    log: Log | None = None,
    announce: Announce | None = None,
) -> Server:
    """Start the engine in its thread and put the app over it. Raises what making the engine raises.

    ``announce`` is called with the host and port of each address, once the server listens there.
    ``Server.run()`` then serves until it is told to stop, and stops the engine.
    """
    thread = EngineThread(make_engine, config.idle_check_seconds)
    engine = thread.start()
    name = config.served_model_name or engine.model.name
    metrics = Metrics(name, state=lambda: thread.state, alive=lambda: thread.death is None)
    service = Service(thread, engine, config, metrics, log or make_log())
    return Server(create_app(service, thread, tenants), config, announce)
