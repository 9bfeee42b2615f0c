"""foreword serve: the engine over HTTP, for OpenAI and Anthropic clients."""

import gc
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.engine_options import EngineFlags, ModelArgument, collections_paused, loading, with_model
from foreword.engine.config import EngineConfig
from foreword.lazy import extra_needed
from foreword.serving.config import ServerConfig

if TYPE_CHECKING:
    from foreword.server.server import Process
    from foreword.server.tenants import Tenants
    from foreword.serving.output import QueuedOutput


def serve_command(start: Callable[[EngineConfig, ServerConfig], None]) -> Callable[..., None]:
    """The command over a function that serves until it is told to stop."""

    @config_flags
    def serve(model: ModelArgument = None, *, server: Annotated[ServerConfig, Flags()], engine: EngineFlags) -> None:
        """Serve a model over HTTP: OpenAI's and Anthropic's API, metrics, health, a dashboard.

        Point a client's base_url at it:  http://127.0.0.1:8000/v1  (OpenAI) or  http://127.0.0.1:8000  (Anthropic).
        API keys come from --api-key, --api-keys-file and FOREWORD_API_KEYS (TENANT:KEY, comma-separated); without any, all
        may ask.
        """
        start(with_model(engine, model), server)

    return serve


def start_server(engine: EngineConfig, server: ServerConfig) -> None:
    """Load the model, listen, and serve until the process is told to stop."""
    serve_until_told(partial(_serve, engine, server))


def serve_until_told(run: Callable[["Sequence[QueuedOutput]", deque[int]], int | None]) -> None:
    """Run a server, given the process' outputs and signals; it returns the signal that ended it, which ends the process."""
    with extra_needed("This command", "server"), collections_paused():
        from foreword.server.server import end_process
        from foreword.server.signals import noted_signals
        from foreword.serving.log import engine_told
        from foreword.serving.output import queued_standard_output
    begun = True
    with queued_standard_output() as outputs, noted_signals() as signals, engine_told():
        try:
            ended_by = run(outputs, signals)
        except KeyboardInterrupt:  # while it loads: a server that runs takes the signal itself
            begun, ended_by = False, signal.SIGINT
        if ended_by == signal.SIGINT:
            print("Stopped.", file=sys.stderr)
    if ended_by == signal.SIGINT and begun:
        raise typer.Exit(128 + signal.SIGINT)
    if ended_by is not None:
        end_process(ended_by)  # at once: threads that load or compile would not survive an orderly end


def _serve(engine: EngineConfig, server: ServerConfig, outputs: "Sequence[QueuedOutput]", signals: deque[int]) -> int | None:
    """Serve until the end; returns the signal that brought it."""
    notes = Console(stderr=True)
    with loading(notes, engine):
        with extra_needed("This command", "server"):
            from foreword.engine.async_llm import AsyncEngine
            from foreword.engine.build import build_engine
            from foreword.server.build import make_server
        gc.freeze()  # modules stay: the collection below need not go through them
        tenants, process = checked(server, outputs, signals)
        front = AsyncEngine(partial(build_engine, engine), server.idle_check_seconds)
        running = make_server(front, server, tenants, announce=partial(say_where, notes), process=process)
    # What loading left stays: a collection that went through all of it would stop everybody for a quarter of a second.
    gc.collect()
    gc.freeze()
    running.run()
    return running.ended_by


def checked(server: ServerConfig, outputs: "Sequence[QueuedOutput]", signals: deque[int]) -> "tuple[Tenants, Process]":
    """Who may ask, and what the process hands a server; what cannot be had is said before a model is loaded."""
    from foreword.server.server import Process
    from foreword.server.tenants import check_operators, load_tenants
    from foreword.serving.trace_file import open_trace

    load = partial(load_tenants, server.api_keys_file, api_key=server.api_key)
    tenants = load()
    check_operators(server.operators, tenants)
    if server.trace is not None:
        open_trace(Path(server.trace)).close()
    if server.kv_events is not None:
        with extra_needed("--kv-events", "kv-events"):
            from foreword.serving.kv_publisher import KVSockets
        KVSockets.bind(server.kv_events, server.kv_events_replay).close()
    return tenants, Process(outputs, signals, load if server.api_keys_file is not None else None)


serve = serve_command(start_server)


def say_where(notes: Console, host: str, port: int) -> None:
    """The addresses of what the server has for people."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    notes.print(f"Serving at http://{shown}:{port}/v1, dashboard at http://{shown}:{port}/dashboard", soft_wrap=True)
