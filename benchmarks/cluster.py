"""Replicas that are killed and stopped under load: does a request fail, does a byte differ, how long is the pause?

    python benchmarks/cluster.py kills --times 100          # kill -9, of one of three replicas at a time
    python benchmarks/cluster.py kills --times 20 --signal STOP
    python benchmarks/cluster.py crowd                       # 64 equal cold prompts at once: computed how often?
    python benchmarks/cluster.py overhead                    # what does the way over an ingress cost?

Replicas are real processes on this machine, without Ray: what is measured is Foreword's own part. The ingress and its
clients share this process. A load is first run undisturbed; then again, while replicas are killed by a seeded schedule.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import uvloop

from foreword.bench import machine
from foreword.cluster.config import FleetConfig
from foreword.cluster.ingress import Ingress, open_ingress
from foreword.server.build import make_server
from foreword.server.tenants import Tenants
from foreword.serving.config import ServerConfig

SECRET = "of a benchmark"
REPLICA = Path(__file__).with_name("cluster_replica.py")
WORDS = ("table", "row", "column", "sum", "of", "the", "north", "south", "east", "cost", "price", "year", "name", "number")
CLIENTS = 6
AFTER_FAULT = 0.2
"""After a failed request."""
BEFORE, AFTER = 5.0, 30.0
"""Seconds of load before the first disturbance and after the last."""
WINDOW = 3.0
"""Seconds over which the share of prompts that was cached is taken."""
NEARLY = 0.02
"""So much less than before, of 1, is back."""
PAUSE = 0.02
"""Seconds before a request that is timed: what a server does after an answer is not to be charged to the other one."""
SERVER = ServerConfig(port=0, max_queue=1000, served_model_names=("*",))


Share = tuple[float, int, int]
"""When an answer ended, and the tokens of its prompt that were cached, of all of them."""


@dataclass
class Process:
    """A replica's process, and where it listens."""

    process: asyncio.subprocess.Process
    address: str


@dataclass
class Replicas:
    """Processes by name; one that has died is started again under another name."""

    model: str
    alive: dict[str, Process] = field(default_factory=dict)
    started: int = 0

    async def addresses(self) -> dict[str, str]:
        return {name: each.address for name, each in self.alive.items()}

    async def start(self) -> str:
        self.started += 1
        name = f"replica-{self.started}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(REPLICA),
            name,
            SECRET,
            self.model,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        self.alive[name] = Process(process, address)
        return name

    async def kill(self, name: str) -> None:
        each = self.alive.pop(name)
        each.process.kill()
        await each.process.wait()

    async def close(self) -> None:
        for name in list(self.alive):
            await self.kill(name)


@asynccontextmanager
async def served(model: str, count: int, silence: float) -> AsyncIterator[tuple[Replicas, Ingress, str]]:
    """A fleet of ``count`` replicas behind a server of this process, and its URL."""
    replicas = Replicas(model)
    await asyncio.gather(*(replicas.start() for _ in range(count)))
    ingress = await open_ingress(replicas.addresses, SECRET, FleetConfig(silence_seconds=silence))
    listens: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = make_server(
        ingress.fleet,
        SERVER,
        Tenants({}),
        announce=lambda _, port: listens.set_result(port),
    )
    serving = asyncio.create_task(server.serve())
    try:
        await joined(ingress, count)
        yield replicas, ingress, f"http://127.0.0.1:{await listens}"
    finally:
        server.should_exit = True
        await serving
        await ingress.close()
        await replicas.close()


async def joined(ingress: Ingress, count: int) -> None:
    async with asyncio.timeout(120):
        while len(ingress.fleet.replicas) < count:
            await asyncio.sleep(0.02)


def bodies(count: int, seed: int) -> list[dict[str, Any]]:
    """Requests of all kinds: greedy and drawn, streamed and whole, with log-probabilities, penalties, forms, two choices."""
    rng = random.Random(seed)
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"temperature": 1.0, "seed": 5},
        {"temperature": 0.8, "top_p": 0.9, "seed": 6, "frequency_penalty": 0.5},
        {"temperature": 1.0, "seed": 7, "logprobs": 2},
        {"temperature": 1.0, "seed": 8, "n": 2},
        {"temperature": 1.0, "seed": 9, "guided_regex": "([a-z]{2,9} ){4,40}end"},
    ]
    heads = [" ".join(rng.choices(WORDS, k=300)) for _ in range(4)]
    return [
        {
            "model": "any",
            "prompt": f"{heads[number % len(heads)]} {number}: {' '.join(rng.choices(WORDS, k=20))}",
            "max_tokens": 60,
            "ignore_eos": True,
            "stream": number % 3 != 0,
            **kinds[number % len(kinds)],
        }
        for number in range(count)
    ]


@dataclass
class Answered:
    """What a client got: all that a replica decides, by choice; and the longest it waited for the next piece, and when."""

    choices: dict[int, list[Any]]
    gap: float
    computed: int
    prompt: int


async def ask(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> Answered:
    """Ask once. Raises for whatever is no answer."""
    began = last = time.perf_counter()
    gap = 0.0
    choices: dict[int, list[Any]] = {}
    usage: dict[str, Any] = {}
    options = {"stream_options": {"include_usage": True}} if body["stream"] else {}
    async with client.stream("POST", f"{url}/v1/completions", json={**body, **options}) as response:
        if response.status_code != 200:
            raise RuntimeError(f"{response.status_code}: {(await response.aread())[:300]!r}")
        if not body["stream"]:
            events = [json.loads(await response.aread())]
            last = began
        else:
            events = []
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    now = time.perf_counter()
                    gap, last = max(gap, now - last), now
                    events.append(json.loads(line[6:]))
                    if "error" in events[-1]:
                        raise RuntimeError(line[:300])
    for event in events:
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            told = choices.setdefault(choice["index"], ["", [], None])
            told[0] += choice["text"]
            if choice.get("logprobs"):
                told[1] += zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"], strict=True)
            told[2] = choice["finish_reason"] or told[2]
    if any(told[2] is None for told in choices.values()) or not usage:
        raise RuntimeError(f"an answer has no end: {choices}")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Answered(choices, gap, usage["prompt_tokens"] - cached, usage["prompt_tokens"])


async def disturb(replicas: Replicas, name: str, how: str) -> None:
    """Kill a replica and start another one, or have it stand still for three seconds."""
    if how == "KILL":
        await replicas.kill(name)
        await replicas.start()
        return
    os.kill(replicas.alive[name].process.pid, signal.SIGSTOP)
    await asyncio.sleep(3.0)
    os.kill(replicas.alive[name].process.pid, signal.SIGCONT)


async def kills(model: str, times: int, how: str, seed: int, seconds: float) -> dict[str, Any]:
    """Disturb replicas, one at a time, while clients ask the same things again and again."""
    rng = random.Random(seed)
    asked = bodies(48, seed)
    faults: list[str] = []
    differing = answers = 0
    gaps: list[float] = []
    shares: list[Share] = []
    disturbed: list[float] = []
    over = False

    async with served(model, 3, 2.0) as (replicas, ingress, url), httpx2.AsyncClient(timeout=120) as client:
        right = [await ask(client, url, body) for body in asked]

        async def go_on(number: int) -> None:
            nonlocal differing, answers
            while not over:
                at = rng.randrange(len(asked))
                try:
                    got = await ask(client, url, asked[at])
                except Exception as error:
                    faults.append(f"client {number}: {error!r}")
                    await asyncio.sleep(AFTER_FAULT)
                    continue
                answers += 1
                differing += got.choices != right[at].choices
                gaps.append(got.gap)
                shares.append((time.perf_counter(), got.prompt - got.computed, got.prompt))

        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(go_on(number))
            try:
                await asyncio.sleep(BEFORE)
                ends = time.perf_counter() + seconds
                while len(disturbed) < times and time.perf_counter() < ends:
                    await asyncio.sleep(rng.uniform(0.05, 0.4))
                    name = rng.choice(sorted(replicas.alive))
                    disturbed.append(time.perf_counter())
                    await disturb(replicas, name, how)
                    await joined(ingress, 3)
                all_there = time.perf_counter()
                await asyncio.sleep(AFTER)
            finally:
                over = True
        counts = ingress.fleet.counts
    told = {
        "signal": how,
        "replicas disturbed": len(disturbed),
        "answers": answers,
        "resumed": counts.resumed,
        "failed": len(faults),
        "faults": faults[:5],
        "differing": differing,
    }
    return {**told, **_pauses(gaps), **_shares(shares, disturbed, all_there)}


def _pauses(gaps: list[float]) -> dict[str, float]:
    """The longest gaps of answers, in seconds."""
    ordered = sorted(gaps)
    return {"longest pause": round(ordered[-1], 3), "pause, 99th percentile": round(ordered[int(0.99 * len(ordered))], 3)}


def _shares(shares: list[Share], disturbed: list[float], all_there: float) -> dict[str, float | None]:
    """The share of prompts that was cached: before the first disturbance, until the last and after it; and how long after
    the last one it was back, and all replicas there."""
    before, last = _share(shares, 0.0, disturbed[0]), disturbed[-1]
    starts = [last + 0.25 * step for step in range(int((AFTER - WINDOW) / 0.25))]
    back = next((at for at in starts if _share(shares, at, at + WINDOW) >= before - NEARLY), None)
    return {
        "cached before": round(before, 3),
        "cached meanwhile": round(_share(shares, disturbed[0], last), 3),
        "cached after the last": round(_share(shares, last, last + AFTER), 3),
        "seconds until it is back": None if back is None else round(back - last, 2),
        "seconds until all replicas are there": round(all_there - last, 2),
    }


def _share(shares: list[Share], begin: float, end: float) -> float:
    """Of the prompts whose answers ended in a time."""
    within = [(cached, prompt) for at, cached, prompt in shares if begin <= at < end]
    return sum(cached for cached, _ in within) / max(sum(prompt for _, prompt in within), 1)


async def crowd(model: str, count: int = 64) -> dict[str, Any]:
    """Equal cold prompts at once."""
    found, beyond = [], []
    async with (
        served(model, 3, 10.0) as (_, ingress, url),
        httpx2.AsyncClient(timeout=300, limits=httpx2.Limits(max_connections=count)) as client,
    ):
        for turn in range(3):
            (body,) = bodies(1, 100 + turn)
            body |= {"stream": True, "max_tokens": 4, "temperature": 0, "prompt": f"{turn} {body['prompt']}"}
            got = await asyncio.gather(*(ask(client, url, body) for _ in range(count)))
            computed, prompt = sum(each.computed for each in got), got[0].prompt
            found.append(round(computed / prompt, 3))
            beyond.append(computed - prompt - (count - 1))
        placed = {name: each.placed for name, each in ingress.fleet.stats().replicas.items()}
    least = "tokens computed beyond once, and the last one of each request"
    return {"requests": count, "prompt tokens": prompt, "computed, in prompts": found, least: beyond, "placed": placed}


async def overhead(model: str, times: int = 150) -> dict[str, Any]:
    """Time of a cached prompt and one token: over an ingress and one replica, and of an engine in the server's process."""
    from foreword.engine.async_llm import AsyncLLM

    (body,) = bodies(1, 7)
    body |= {"stream": True, "max_tokens": 1, "temperature": 0}
    async with served(model, 1, 10.0) as (_, _, url), httpx2.AsyncClient(timeout=60) as client:
        llm = await asyncio.to_thread(lambda: AsyncLLM(model or None, kv_cache_memory_bytes=2**26, self_test=False))
        listens: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        alone = make_server(
            llm,
            SERVER,
            Tenants({}),
            announce=lambda _, port: listens.set_result(port),
        )
        serving = asyncio.create_task(alone.serve())
        urls = {"ingress": url, "one process": f"http://127.0.0.1:{await listens}"}
        seconds: dict[str, list[float]] = {name: [] for name in urls}
        for turn in range(times):
            for name in sorted(urls, reverse=turn % 2 == 0):
                await asyncio.sleep(PAUSE)
                began = time.perf_counter()
                await ask(client, urls[name], body)
                seconds[name].append(time.perf_counter() - began)
        alone.should_exit = True
        await serving
    middle = {name: round(1000 * median(values), 3) for name, values in seconds.items()}
    pairs = zip(seconds["ingress"], seconds["one process"], strict=True)
    added = sorted(1000 * (fleet - one) for fleet, one in pairs)
    quarters = [round(added[len(added) * part // 4], 3) for part in (1, 2, 3)]
    return {
        "milliseconds": middle,
        "ingress adds": round(middle["ingress"] - middle["one process"], 3),
        "quartiles": quarters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "crowd", "overhead"))
    parser.add_argument("--model", default="")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--signal", choices=("KILL", "STOP"), default="KILL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=420, help="No replica is disturbed after so long.")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match given.what:
            case "kills":
                found = runner.run(kills(given.model, given.times, given.signal, given.seed, given.seconds))
            case "crowd":
                found = runner.run(crowd(given.model))
            case _:
                found = runner.run(overhead(given.model))
    print(json.dumps({**found, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
