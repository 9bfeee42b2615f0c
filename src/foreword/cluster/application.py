"""The application on Ray Serve: engine replicas, who they are, and ingresses. Serve places, starts, watches and scales them.

What goes between an ingress and a replica goes over a connection of their own (link.py), not through Serve's handles: these
choose a replica by themselves, end a stream with an error where a replica dies, and cost milliseconds a token.
"""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_type_hints

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from foreword.cluster.config import ClusterConfig, check_edge
from foreword.cluster.ingress import open_ingress
from foreword.cluster.replica import ReplicaServer, prefill_rate
from foreword.cluster.scaling import IN_HAND
from foreword.config import build_config
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.config import EngineConfig
from foreword.errors import ConfigError, Unavailable
from foreword.serving.config import ServerConfig

ANNOUNCE_SECONDS = 0.5
KILL_SECONDS = 5.0
"""A replica that has been to end for so much longer than it may go on with its answers is killed."""
FORGET_SECONDS = 10.0
"""Who has not announced itself for so long is not named any more."""
WHAT = "option of foreword.cluster:app"
C = TypeVar("C")


class Roster:
    """Who the replicas are and where they listen. It keeps nothing that does not come again within a second."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    async def announce(self, name: str, address: str) -> None:
        """A replica is there."""
        self._seen[name] = address, time.monotonic()

    async def addresses(self) -> dict[str, str]:
        """``host:port`` of those that are there, by name."""
        bound = time.monotonic() - FORGET_SECONDS
        self._seen = {name: entry for name, entry in self._seen.items() if entry[1] > bound}
        return {name: address for name, (address, _) in self._seen.items()}


class EngineReplica:
    """An engine of the fleet, in a process of its own."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, engine: EngineConfig, cluster: ClusterConfig, secret: str, roster: DeploymentHandle[Roster]
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(cluster.replica_threads)  # Ray sets its own; torch is imported below

        def make() -> AsyncEngine:
            from foreword.engine.build import build_engine

            return AsyncEngine(lambda: build_engine(engine))

        self._drain_seconds = cluster.drain_seconds
        self._llm = await asyncio.to_thread(make)
        self._name = serve.get_replica_context().replica_id.unique_id
        rate = await prefill_rate(self._llm)
        shared = None if engine.store else engine.shared_store  # with a folder too, what is below its memory is its own
        self._server = ReplicaServer(self._llm, self._name, secret, rate, shared)
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._address = f"{host}:{await self._server.start(host)}"
        self._roster = roster
        self._announcing = asyncio.create_task(self._announce())

    def check_health(self) -> None:
        """Called by Serve, which starts another replica where this raises."""
        if self._llm.death is not None:
            raise Unavailable(str(self._llm.death))
        if self._server.refused is not None:
            raise ConfigError(self._server.refused)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve where the number of replicas follows the work; see scaling.py."""
        state = self._llm.state
        return {IN_HAND: state.running + state.waiting}

    async def __del__(self) -> None:  # called and awaited by Serve where a replica is to end
        self._announcing.cancel()
        await self._server.leave(self._drain_seconds)

    async def _announce(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # the roster is being started again; nobody is lost by that
                await asyncio.wait_for(self._roster.announce.remote(self._name, self._address), FORGET_SECONDS)
            await asyncio.sleep(ANNOUNCE_SECONDS)


class FleetIngress:
    """The HTTP edge over the fleet: everything that ``foreword serve`` has over one engine."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        server: ServerConfig,
        cluster: ClusterConfig,
        secret: str,
        roster: DeploymentHandle[Roster],
        replicas: DeploymentHandle[EngineReplica],
    ) -> None:
        """``replicas`` are reached by their own addresses; the handle makes them a part of this application."""
        del replicas
        self._server = server
        self._ingress = await open_ingress(roster.addresses.remote, secret, cluster)

    def __serve_build_asgi_app__(self) -> Any:  # so called by Serve, once the above is done
        from foreword.server.app import create_app
        from foreword.server.build import make_parts
        from foreword.server.tenants import load_tenants

        tenants = load_tenants(self._server.api_keys_file, api_key=self._server.api_key)
        fleet = self._ingress.fleet
        return create_app(make_parts(fleet, self._server, tenants, fleet=fleet))


def engines(engine: EngineConfig, cluster: ClusterConfig, secret: str) -> Application:
    """The replicas alone, for an ingress elsewhere that has the secret; they are known to the deployment ``Roster``."""
    return _replicas(engine, cluster, secret, _roster())


def app(args: Mapping[str, Any]) -> Application:
    """The whole fleet, for ``serve run foreword.cluster:app model=... replicas=3`` and ``args`` of a config file.

    Options are the fields of ClusterConfig, EngineConfig and ServerConfig; ``ingresses``: how many ingress replicas
    there are (1). ConfigError for others, and for what a server over a fleet cannot honour.
    """
    given = dict(args)
    ingresses = int(given.pop("ingresses", 1))
    cluster, engine, server = read_options(given)
    check_edge(server)
    secret, roster = secrets.token_hex(16), _roster()
    ingress = serve.deployment(name="Ingress", num_replicas=ingresses, max_ongoing_requests=10_000)(
        serve.ingress()(FleetIngress)
    )
    replicas = _replicas(engine, cluster, secret, roster)
    return ingress.options(ray_actor_options={"num_cpus": 0.1}).bind(server, cluster, secret, roster, replicas)


def read_options(given: Mapping[str, Any]) -> tuple[ClusterConfig, EngineConfig, ServerConfig]:
    """Options by their names, also as a shell gives them: numbers and lists as text. ConfigError for unknown ones."""
    known = {field.name for kind in (ClusterConfig, EngineConfig, ServerConfig) for field in fields(kind)}
    unknown = {name: value for name, value in given.items() if name not in known}
    engine = _read(EngineConfig, given, unknown)  # of unknown ones it says what may be meant
    return _read(ClusterConfig, given, {}), engine, _read(ServerConfig, given, {})


def _read(kind: type[C], given: Mapping[str, Any], unknown: Mapping[str, Any]) -> C:
    types = get_type_hints(kind)
    values = {name: _value(value, types[name]) for name, value in given.items() if name in types}
    return build_config(kind, {**values, **unknown}, WHAT)


def _value(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or str in (kind, *get_args(kind)):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # it is refused, by its name


def _roster() -> Application:
    quiet = LoggingConfig(enable_access_log=False)  # it is called several times a second
    deployment = serve.deployment(name="Roster", num_replicas=1, logging_config=quiet)(Roster)
    return deployment.options(ray_actor_options={"num_cpus": 0.01}).bind()


def _replicas(engine: EngineConfig, cluster: ClusterConfig, secret: str, roster: Application) -> Application:
    scaled = autoscaling(cluster)
    deployment = serve.deployment(
        name="Replica",
        num_replicas=None if scaled else cluster.replicas,
        autoscaling_config=scaled,
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=cluster.drain_seconds + KILL_SECONDS,
    )(EngineReplica)
    return deployment.options(ray_actor_options={"num_cpus": cluster.replica_cpus}).bind(engine, cluster, secret, roster)


def autoscaling(cluster: ClusterConfig) -> AutoscalingConfig | None:
    """How the number of replicas follows the work, as Serve reads it; None: it does not."""
    if cluster.max_replicas is None:
        return None
    policy = AutoscalingPolicy(policy_function="foreword.cluster.scaling:replicas_wanted")  # type: ignore[no-untyped-call]
    return AutoscalingConfig(
        min_replicas=cluster.replicas,
        max_replicas=cluster.max_replicas,
        target_ongoing_requests=cluster.requests_per_replica,
        downscale_delay_s=cluster.idle_seconds,
        policy=policy,
    )
