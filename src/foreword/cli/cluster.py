"""foreword cluster: several engines behind one server, on Ray Serve."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from rich.console import Console

from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.engine_options import EngineFlags, ModelArgument, with_model
from foreword.cli.serve import checked, say_where, serve_until_told
from foreword.cluster.config import ClusterConfig, check_edge
from foreword.engine.config import EngineConfig
from foreword.lazy import extra_needed
from foreword.serving.config import ServerConfig

if TYPE_CHECKING:
    from foreword.cluster.fleet import Fleet
    from foreword.server.server import Server
    from foreword.serving.output import QueuedOutput


def cluster_command(start: Callable[[EngineConfig, ClusterConfig, ServerConfig], None]) -> Callable[..., None]:
    """The command over a function that serves until it is told to stop."""

    @config_flags
    def cluster(
        model: ModelArgument = None,
        *,
        fleet: Annotated[ClusterConfig, Flags()],
        server: Annotated[ServerConfig, Flags()],
        engine: EngineFlags,
    ) -> None:
        """Serve a model by several engines, on Ray: each request goes where its prefix is cached, unless that one is busier.

        An answer whose engine dies goes on at another one, with the bytes it would have had. Everything that foreword serve
        has, it has over all of them. For a server that outlives this process: serve run foreword.cluster:app.
        """
        start(with_model(engine, model), fleet, server)

    return cluster


def start_fleet(engine: EngineConfig, fleet: ClusterConfig, server: ServerConfig) -> None:
    """Start the engines, listen, and serve until the process is told to stop."""
    check_edge(server)
    with extra_needed("This command", "cluster"):
        import foreword.cluster.running  # noqa: F401  # what it needs is said before anything is begun
    serve_until_told(partial(_serve, engine, fleet, server))


def _serve(
    engine: EngineConfig,
    fleet: ClusterConfig,
    server: ServerConfig,
    outputs: "Sequence[QueuedOutput]",
    signals: deque[int],
) -> int | None:
    from foreword.cluster.running import run_fleet
    from foreword.server.build import make_server

    tenants, process = checked(server, outputs, signals)
    notes = Console(stderr=True)

    def make(front: "Fleet") -> "Server":
        announce = partial(say_where, notes)
        return make_server(front, server, tenants, announce=announce, process=process, fleet=front)

    return run_fleet(engine, fleet, make, notes.print)


cluster = cluster_command(start_fleet)
