"""A server under many clients of both dialects who come, ask, ask wrongly, and leave at any moment.

    PYTHONPATH=tests python -m server.soak --minutes 10

In ``make test`` it runs for a minute (test_soak.py).
"""

import argparse
import asyncio
import json
import random
import resource
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from foreword.engine import EngineConfig
from foreword.testing.tiny_models import write_model
from server.live import Live, live_server

CLIENTS = 32
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
ENGINE: dict[str, Any] = {
    "kv_cache_memory_bytes": 2**21,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 128,
    "self_test": False,
}
SERVER: dict[str, Any] = {
    "served_model_name": "tiny",
    "max_queue": 20,
    "remembered_answers": 50,
    "idle_check_seconds": 1.0,
    "body_timeout": 300.0,  # a machine may stand still; clients that are slow with their bodies have a test of their own
}


@dataclass
class Report:
    """What happened, by kind; ``unexpected`` must stay empty."""

    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    steps: int = 0
    megabytes: list[float] = field(default_factory=list)
    """Peak memory of the process after each tenth of the time."""


def soak(live: Live, seconds: float, clients: int = CLIENTS, seed: int = 0) -> Report:
    """Load a server; afterwards it must be settled."""
    report = Report()
    asyncio.run(_run(live, seconds, clients, seed, report))
    live.settle(60)
    return report


async def _run(live: Live, seconds: float, clients: int, seed: int, report: Report) -> None:
    end = time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=live.url, timeout=300, limits=limits) as client:
        working = [_client(client, random.Random(seed * 1000 + number), end, report) for number in range(clients)]
        await asyncio.gather(_watch(seconds, report), *working)


async def _watch(seconds: float, report: Report) -> None:
    for _ in range(10):
        await asyncio.sleep(seconds / 10)
        report.megabytes.append(_resident_megabytes())


def _resident_megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _client(client: httpx2.AsyncClient, rng: random.Random, end: float, report: Report) -> None:
    while time.monotonic() < end:
        path, body = _request(rng)
        leaves = rng.random() < 0.2
        try:
            if leaves and not body.get("stream"):
                async with asyncio.timeout(rng.expovariate(20)):
                    await _ask(client, path, body, report)
            else:
                await _ask(client, path, body, report, rng.randrange(4) if leaves else None)
        except TimeoutError:
            report.counts["left"] += 1
        except httpx2.HTTPError as error:
            report.unexpected.append(f"{path}: {error!r}")


async def _ask(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any], report: Report, lines: int | None = None
) -> None:
    """One request; with ``lines`` the client leaves its stream after so many."""
    kind = "messages" if "messages" in path.rpartition("/")[2] else path.removeprefix("/v1/")
    async with client.stream("POST", path, json=body) as answer:
        if answer.status_code == 200 and body.get("stream"):
            last = ""
            async for line in answer.aiter_lines():
                if lines is not None:
                    if lines == 0:
                        report.counts["left"] += 1
                        return
                    lines -= 1
                last = line or last
            _check_end(path, last, report)
            report.counts[f"{kind} streamed"] += 1
            return
        text = (await answer.aread()).decode()
    if answer.status_code == 200:
        report.counts[kind] += 1
        _check_usage(path, json.loads(text), report)
    elif answer.status_code in (429, 529) and "retry-after" in answer.headers:
        report.counts["told to come back"] += 1
        await asyncio.sleep(0.05)
    elif answer.status_code == 400 and "wrong" in body:
        report.counts["refused as wrong"] += 1
    else:
        report.unexpected.append(f"{path} {body}: {answer.status_code} {text[:300]}")


def _check_end(path: str, last: str, report: Report) -> None:
    if not any(end in last for end in ("[DONE]", "response.completed", "response.incomplete", "message_stop")):
        report.unexpected.append(f"{path}: stream ended with {last[:300]}")


def _check_usage(path: str, answer: dict[str, Any], report: Report) -> None:
    """Cached and written tokens add up to the prompt."""
    usage = answer["usage"]
    if "prompt_tokens" in usage:
        told, details = usage["prompt_tokens"], usage["prompt_tokens_details"]
        adds_up = told == details["cached_tokens"] + details["cache_write_tokens"]
    elif "input_tokens_details" in usage:
        told, details = usage["input_tokens"], usage["input_tokens_details"]
        adds_up = told == details["cached_tokens"] + details["cache_write_tokens"]
    else:
        told = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        adds_up = told > 0
    report.counts["prompt tokens"] += told
    if not adds_up:
        report.unexpected.append(f"{path}: {usage}")


def _request(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A random request: one of a few shared prefixes, an ending of its own, now and then wrong."""
    prefix = f"prefix {rng.randrange(12)}: " + " ".join(WORDS * rng.choice((1, 4, 8)))
    ending = " ".join(rng.choices(WORDS, k=rng.randrange(1, 12)))
    tokens = rng.choice((0, 1, 3, 10, 40))
    path = rng.choice(("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"))
    body: dict[str, Any] = {"model": "tiny", "stream": rng.random() < 0.5, "temperature": rng.choice((0, 1))}
    if rng.random() < 0.05:
        body["wrong"] = 1
    if path == "/v1/messages":
        system: dict[str, Any] = {"type": "text", "text": prefix}
        if rng.random() < 0.3:
            system["cache_control"] = {"type": "ephemeral", "ttl": rng.choice(("5m", "1h"))}
        body |= {"system": [system], "messages": [{"role": "user", "content": ending}], "max_tokens": tokens}
        return path, body
    if rng.random() < 0.2:
        body["prompt_cache_options"] = {"mode": "implicit", "ttl": "30m"}
    if path == "/v1/responses":
        return path, body | {"instructions": prefix, "input": ending, "max_output_tokens": tokens}
    body |= {"max_tokens": tokens, "n": rng.choice((1, 1, 1, 2)), "stop": rng.choice((None, ["x"]))}
    if rng.random() < 0.2:
        body["cache_salt"] = rng.choice("ab")
    if path == "/v1/completions":
        return path, body | {"prompt": f"{prefix} {ending}"}
    part: dict[str, Any] = {"type": "text", "text": prefix}
    if rng.random() < 0.3:
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}
    messages = [{"role": "system", "content": [part]}, {"role": "user", "content": ending}]
    return path, body | {"messages": messages}


def main() -> None:
    """Run for as long as asked, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = EngineConfig(model=str(write_model(Path(folder), "llama")), **ENGINE)
        with live_server(config, **SERVER) as live:
            report = soak(live, given.minutes * 60, seed=given.seed)
            state = live.engine.usage()
    for name, count in sorted(report.counts.items()):
        print(f"{name:24} {count:10,}")
    print(f"unexpected               {len(report.unexpected):10,}", *report.unexpected[:5], sep="\n")
    print(f"evicted tokens           {state.evicted_tokens:10,}")
    print("memory, MB:", " ".join(f"{value:.0f}" for value in report.megabytes))


if __name__ == "__main__":
    main()
