"""A fleet for one person: replicas on Ray, and the server over them in this process."""

import asyncio
import gc
import os
import secrets
from collections.abc import Callable

import ray
import uvloop
from ray import serve

from foreword.cluster.application import engines
from foreword.cluster.config import ClusterConfig
from foreword.cluster.fleet import Fleet
from foreword.cluster.ingress import open_ingress
from foreword.engine.config import EngineConfig
from foreword.server.server import Server

NAME = "foreword"
"""Of the application on Serve."""


def run_fleet(
    engine: EngineConfig, cluster: ClusterConfig, make: Callable[[Fleet], Server], say: Callable[[str], object]
) -> int | None:
    """Start replicas, serve over them until the process is told to stop; returns the signal that brought it.

    ``make`` makes the server over the fleet; ``say`` is told how far the start has come. What was started ends with it: the
    replicas, and Ray itself where none was running.
    """
    say("Starting Ray ...")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine takes longer than Ray waits
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 leaves replicas what other programs do not want
    if cluster.address is None:
        ray.init(
            "local", num_cpus=_processors(cluster), include_dashboard=False, configure_logging=False, log_to_driver=False
        )
    else:
        ray.init(cluster.address, log_to_driver=False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(engine, cluster, make, say))
    finally:
        say("Ending the replicas ...")
        serve.delete(NAME)
        if cluster.address is None:
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def _serve(
    engine: EngineConfig, cluster: ClusterConfig, make: Callable[[Fleet], Server], say: Callable[[str], object]
) -> int | None:
    say(f"Starting {cluster.replicas} replicas of {engine.model or 'the table reader in the package'} ...")
    secret = secrets.token_hex(16)

    def start() -> None:
        serve.start(proxy_location="Disabled")
        serve.run(engines(engine, cluster, secret), name=NAME, route_prefix=None)

    await asyncio.to_thread(start)
    roster = serve.get_deployment_handle("Roster", NAME)
    ingress = await open_ingress(roster.addresses.remote, secret, cluster)
    server = make(ingress.fleet)
    gc.collect()
    gc.freeze()  # as a server over one engine does: a collection of all would stop everybody
    try:
        await server.serve()
    finally:
        await ingress.close()
    return server.ended_by


def _processors(cluster: ClusterConfig) -> int:
    """What a Ray of our own is to count, so that it places all replicas: it does not measure."""
    return max(os.cpu_count() or 1, int((cluster.max_replicas or cluster.replicas) * cluster.replica_cpus) + 2)
