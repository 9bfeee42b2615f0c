"""Bodies of agents, changed at random, against a server beside a client that must not wait.

    foreword serve MODEL --port 8000 &
    python benchmarks/fuzz_bodies.py --url http://127.0.0.1:8000 --minutes 10 --seed 1

Sends the bodies of tests/server/data (or ``--bodies FOLDER``) with values replaced, taken out, repeated, nested and made
long; beside it, in a process of its own, one client asks for /health and one for a small streamed answer. Tells the longest
time that either waited, how the mutated bodies were answered, and the first that was answered with a 5xx or not at all. The
exit status is 1 if there was one, or if somebody waited longer than ``--wait-ms``.
"""

import argparse
import asyncio
import copy
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import httpx2
from tqdm import tqdm

DATA = Path(__file__).parents[1] / "tests" / "server" / "data"
PATHS = {"claude": "/v1/messages", "codex": "/v1/responses"}
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, 2**63, "", "\x00", "\ud83c", "\u202e", "<|im_end|>", "x" * 100_000, [], {}, [[[]]], [{}]),
    *("<tool_call>", "{" * 1000, "\ue000" * 1000, "é" * 5000, {"type": "text"}, {"type": "image"}, "</s>" * 200),
)
IN_FLIGHT = 4


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def mutated(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A body with one to four changes."""
    body = copy.deepcopy(body)
    for _ in range(rng.randint(1, 4)):
        *above, key = rng.choice([place for place in places(body) if place])
        holder: Any = body
        for step in above:
            holder = holder[step]
        what = rng.randrange(5)
        if what == 0:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif what == 1:
            del holder[key]
        elif what == 2 and isinstance(holder, list):
            holder.extend(copy.deepcopy([holder[key]]) * rng.choice([1, 10, 300]))
        elif what == 3 and isinstance(holder, dict):
            holder[f"odd_{rng.randrange(100)}"] = copy.deepcopy(rng.choice(ODD))
        else:
            for _ in range(rng.choice([1, 50, 300])):
                holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
    return body


class Waits:
    """The longest that a healthy client has waited, in seconds, by what it asked for."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}

    def note(self, what: str, seconds: float) -> None:
        """One wait."""
        self.longest[what] = max(self.longest.get(what, 0.0), seconds)


async def ask_for_health(client: httpx2.AsyncClient, waits: Waits, end: float) -> None:
    """Over and over, a tenth of a second apart."""
    while time.monotonic() < end:
        asked = time.monotonic()
        answer = await client.get("/health")
        waits.note("/health", time.monotonic() - asked)
        if answer.status_code != 200:
            raise SystemExit(f"/health answers {answer.status_code}: {answer.text[:300]}")
        await asyncio.sleep(0.1)


async def read_streams(client: httpx2.AsyncClient, model: str, waits: Waits, end: float) -> None:
    """Streamed answers, one after another; what counts is the time between two pieces of one."""
    body = {"model": model, "prompt": "a healthy client", "max_tokens": 64, "stream": True, "temperature": 0}
    while time.monotonic() < end:
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            last: float | None = None
            async for _ in answer.aiter_lines():
                now = time.monotonic()
                if last is not None:
                    waits.note("a stream", now - last)
                last = now


def healthy(url: str, model: str, end: float, waits: "Queue[dict[str, float]]") -> None:
    """The clients that must not wait, in a process of their own; what they waited at most is put out at the end."""

    async def both(found: Waits) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
            await asyncio.gather(ask_for_health(client, found, end), read_streams(client, model, found, end))

    found = Waits()
    try:
        asyncio.run(both(found))
    finally:
        waits.put(found.longest)


async def send(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> str:
    """The status that a body got, or what went wrong."""
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    try:
        async with asyncio.timeout(120):
            answer = await client.post(path, content=raw, headers={"content-type": "application/json"})
    except (httpx2.HTTPError, TimeoutError) as error:
        return type(error).__name__
    return str(answer.status_code)


async def fuzz(options: argparse.Namespace) -> int:
    """Run for the time asked for; returns the exit status."""
    rng, statuses = random.Random(options.seed), Counter[str]()
    processes = multiprocessing.get_context("spawn")
    waits: Queue[dict[str, float]] = processes.Queue()
    files = sorted(Path(options.bodies).glob("*.json"))
    known = [
        (path, found.get("body", found))
        for file in files
        for word, path in PATHS.items()
        if word in file.name and isinstance(found := json.loads(file.read_text()), dict)
    ]
    if not known:
        raise SystemExit(f"No bodies in {options.bodies}: files of which 'claude' or 'codex' is in the name.")
    worst: tuple[str, dict[str, Any]] | None = None
    async with httpx2.AsyncClient(base_url=options.url, timeout=120) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        end = time.monotonic() + 60 * options.minutes
        beside = processes.Process(target=healthy, args=(options.url, model, end, waits))
        beside.start()
        with tqdm(total=round(60 * options.minutes), unit="s") as bar:
            while (left := end - time.monotonic()) > 0:
                bodies = []
                for _ in range(IN_FLIGHT):
                    path, body = rng.choice(known)
                    bodies.append((path, mutated({**body, "model": model, "stream": False}, rng)))
                got = await asyncio.gather(*(send(client, path, body) for path, body in bodies))
                statuses.update(got)
                for status, sent in zip(got, bodies, strict=True):
                    if worst is None and (not status.isdigit() or status.startswith("5")):
                        worst = status, {"path": sent[0], "body": sent[1]}
                bar.set_postfix_str(f"{statuses.total()} bodies")
                bar.update(round(bar.total - max(left, 0)) - bar.n)
    longest = await asyncio.to_thread(waits.get)
    beside.join()
    if beside.exitcode:
        raise SystemExit("The healthy client was not answered; see above.")
    return told(options, longest, statuses, worst)


def told(
    options: argparse.Namespace, longest: dict[str, float], statuses: Counter[str], worst: tuple[str, dict[str, Any]] | None
) -> int:
    """Say what was found; returns the exit status."""
    for what, seconds in sorted(longest.items()):
        print(f"{what} waited at most {1000 * seconds:.0f} ms")
    print("mutated bodies:", ", ".join(f"{count} × {status}" for status, count in statuses.most_common()))
    if worst is not None:
        print(f"first that was not answered well: {worst[0]}\n{json.dumps(worst[1])[:2000]}")
    waited = max(longest.values(), default=0.0) * 1000 > options.wait_ms
    return 1 if worst is not None or waited else 0


def main() -> None:
    """Read the options and run."""
    sys.setrecursionlimit(20_000)  # bodies are nested more deeply than Python walks by itself
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--bodies", default=str(DATA), help="folder with bodies of agents")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wait-ms", type=float, default=250.0, help="longest that a healthy client may wait")
    sys.exit(asyncio.run(fuzz(parser.parse_args())))


if __name__ == "__main__":
    main()
