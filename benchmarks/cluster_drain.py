"""A replica that is to end, on Ray, with answers under way: does a request fail, does a token differ?

    python benchmarks/cluster_drain.py scale                       # fewer replicas, for there is less work
    python benchmarks/cluster_drain.py deploy                      # a new version: all replicas are replaced
    python benchmarks/cluster_drain.py scale --drain-seconds 0.5   # answers take longer than they may

Clients ask the same things again and again while Ray Serve ends replicas; every answer is compared with the undisturbed one.
"""

import argparse
import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import ray
import uvloop
from ray import serve

from foreword.bench import machine
from foreword.cluster.application import engines
from foreword.cluster.config import ClusterConfig
from foreword.cluster.fleet import Fleet
from foreword.cluster.ingress import open_ingress
from foreword.engine.config import EngineConfig
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens

NAME = "drained"
PROMPTS, CLIENTS, FEWER = 8, 6, 3
"""Prompts; clients before a replica is one too many, and then."""
AFTER = 2.0
"""Seconds of load after the last replica has gone."""
WAIT = 240.0
"""Seconds for Serve to do what it is to do."""


def asked(number: int, tokens: int) -> EngineRequest:
    """A drawn or a greedy answer of so many tokens."""
    params = SamplingParams(max_tokens=tokens, temperature=number % 2, seed=number, ignore_eos=True)
    return EngineRequest(pack_tokens([(7 + 31 * number + 5 * at) % 200 for at in range(60)]), params)


async def answer(fleet: Fleet, request: EngineRequest) -> list[int]:
    """The token ids of an answer. Raises what ended it."""
    stream = fleet.submit(request, lambda _: None)
    tokens: list[int] = []
    finished = False
    try:
        while not finished:
            delta = await stream.next()
            finished = delta.finished
            for choice in delta.choices:
                tokens += choice.token_ids
    finally:
        stream.close()
    return tokens


class Load:
    """Clients that ask until there are to be fewer of them."""

    def __init__(self, fleet: Fleet, tokens: int):
        self.clients = 0
        self.answers = self.differing = 0
        self.faults: list[str] = []
        self._fleet = fleet
        self._tokens = tokens
        self._right: list[list[int]] = []

    async def undisturbed(self) -> None:
        """Answers of one replica alone."""
        self._right = [await answer(self._fleet, asked(number, self._tokens)) for number in range(PROMPTS)]

    async def client(self, number: int) -> None:
        """Ask while there are to be more clients than this one's number."""
        at = number
        while number < self.clients:
            at = (at + 3) % PROMPTS
            try:
                got = await answer(self._fleet, asked(at, self._tokens))
            except Exception as error:
                self.faults.append(repr(error))
                await asyncio.sleep(0.2)
                continue
            self.answers += 1
            self.differing += got != self._right[at]


async def until(holds: Callable[[], bool]) -> float:
    """Wait; returns for how long."""
    began = time.monotonic()
    async with asyncio.timeout(WAIT):
        while not holds():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def drained(how: str, drain_seconds: float, tokens: int) -> dict[str, Any]:
    """Have replicas end under load, and count what became of answers."""
    scales = how == "scale"
    cluster = ClusterConfig(
        replicas=1 if scales else 2,
        max_replicas=2 if scales else None,
        requests_per_replica=float(FEWER),
        idle_seconds=3.0,
        drain_seconds=drain_seconds,
        replica_cpus=0.1,
    )
    engine, secret = EngineConfig(kv_cache_memory_bytes=2**25, self_test=False, draft="off"), secrets.token_hex(8)

    async def deploy() -> None:
        await asyncio.to_thread(lambda: serve.run(engines(engine, cluster, secret), name=NAME, route_prefix=None))

    await deploy()
    ingress = await open_ingress(serve.get_deployment_handle("Roster", NAME).addresses.remote, secret, cluster)
    fleet = ingress.fleet
    await until(lambda: len(fleet.replicas) == cluster.replicas)
    load = Load(fleet, tokens)
    await load.undisturbed()
    before = set(fleet.replicas)
    busy_at_the_end: dict[str, int] = {}

    def gone() -> bool:
        for view in fleet.fleet_state().replicas:
            if view.leaving:
                busy_at_the_end.setdefault(view.name, view.running + view.waiting)
        return len(fleet.replicas) == 1 if scales else not before & set(fleet.replicas)

    load.clients = CLIENTS
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(load.client(number))
        took: dict[str, float] = {}
        try:
            if scales:
                took["until there are two"] = await until(lambda: len(fleet.replicas) == 2)
                load.clients = FEWER
            else:
                clients.create_task(deploy())
            took["until those that were to end are gone"] = await until(gone)
            await asyncio.sleep(AFTER)
        finally:
            load.clients = 0
    counts = fleet.counts
    await ingress.close()
    return {
        "how": how,
        "drain seconds": drain_seconds,
        "seconds": {name: round(seconds, 1) for name, seconds in took.items()},
        "answers": load.answers,
        "failed": len(load.faults),
        "faults": load.faults[:5],
        "differing": load.differing,
        "under way where a replica was to end": sum(busy_at_the_end.values()),
        "replicas that ended": counts.left,
        "went on elsewhere": counts.resumed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("scale", "deploy"))
    parser.add_argument("--drain-seconds", type=float, default=30.0)
    parser.add_argument("--tokens", type=int, default=1500, help="Of an answer.")
    given = parser.parse_args()
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "200")
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init("local", num_cpus=4, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        serve.start(proxy_location="Disabled")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(drained(given.how, given.drain_seconds, given.tokens))
        print(json.dumps({**found, "machine": machine()}, indent=1))
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


if __name__ == "__main__":
    main()
