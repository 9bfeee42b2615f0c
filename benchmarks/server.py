"""What the server adds to the engine, and what the cache brings to its clients.

    python benchmarks/server.py [--model DIR] [--rounds N] [--clients 1,8,32] [--json FILE]

overhead  One client asks for one token, with the table cached: ``LLM.generate`` in this process, and the same prompt over
          HTTP from a server in another process, in turn. The difference is what parsing, threads and sockets cost.
table     The table workload over HTTP, streamed: time to the first token, and requests a second, for so many clients at a
          time. Warm: the table is in the cache. Cold: the same requests with ``prompt_cache_options.mode: explicit`` and no
          mark, which neither use nor feed the cache. Both kinds take turns, a round each.

Run it on a quiet machine: ``other_cores`` tells how many cores were busy with something else than this and its server.
"""

import argparse
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from foreword import LLM, SamplingParams
from measuring import machine, watching_others
from table_workload import prompts

EXPLICIT = {"prompt_cache_options": {"mode": "explicit"}}


@contextmanager
def server(model: str | None) -> Iterator[tuple[str, int]]:
    """``foreword serve`` in a process of its own; gives its host and port, and the model's name."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from foreword.cli.main import run; run()", "serve", *([model] if model else [])]
    command += ["--port", str(port), "--served-model-name", "served"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not _ready(port):
            if process.poll() is not None:
                raise SystemExit(f"The server ended with status {process.returncode}.")
            time.sleep(0.1)
        yield "127.0.0.1", port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _ready(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


class Client:
    """One connection that is kept open."""

    def __init__(self, address: tuple[str, int]):
        self._connection = http.client.HTTPConnection(*address, timeout=300)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, prompt: str, **more: Any) -> float:
        """Seconds to the first piece of the answer; returns when all of it is there."""
        body = json.dumps({"model": "served", "prompt": prompt, "temperature": 0, **more})
        start = time.perf_counter()
        self._connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        answer.read(1)
        first = time.perf_counter() - start
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"The server answered {answer.status}.")
        return first


def measure_overhead(address: tuple[str, int], model: str | None, rounds: int) -> dict[str, float]:
    """Seconds for one token, directly and over HTTP, in turn."""
    llm, client, asked = LLM(model), Client(address), prompts()
    params = SamplingParams(temperature=0, max_tokens=1)
    direct, over_http = [], []
    for number in range(rounds + 1):
        for prompt in asked:
            start = time.perf_counter()
            llm.generate(prompt, params)
            one = time.perf_counter() - start
            other = client.ask(prompt, max_tokens=1)
            if number:  # the first round fills the caches
                direct.append(one)
                over_http.append(other)
    added = [b - a for a, b in zip(direct, over_http, strict=True)]
    return {
        "requests": len(direct),
        "direct_p50": median(direct),
        "http_p50": median(over_http),
        "added_p50": median(added),
        "added_p90": quantiles(added, n=10)[-1],
    }


def measure_table(address: tuple[str, int], clients: int, rounds: int) -> dict[str, Any]:
    """First-token times and requests a second, warm and cold, for some clients at a time."""
    connections = [Client(address) for _ in range(clients)]
    found: dict[str, Any] = {"clients": clients}
    times: dict[str, list[float]] = {"warm": [], "cold": []}
    seconds = {"warm": 0.0, "cold": 0.0}
    _round(connections, {})
    for _ in range(rounds):
        for kind, more in (("cold", EXPLICIT), ("warm", {})):
            start = time.perf_counter()
            times[kind] += _round(connections, more)
            seconds[kind] += time.perf_counter() - start
    for kind, values in times.items():
        cuts = quantiles(values, n=100)
        found[kind] = {
            "requests": len(values),
            "ttft_p50": median(values),
            "ttft_p99": cuts[98],
            "requests_per_second": len(values) / seconds[kind],
        }
    return found


def _round(connections: list[Client], more: dict[str, Any]) -> list[float]:
    """Each client asks all prompts, each beginning with another one."""
    times: list[float] = []

    def work(client: Client, shift: int) -> None:
        asked = prompts()
        for number in range(len(asked)):
            times.append(client.ask(asked[(number + shift) % len(asked)], max_tokens=16, stream=True, **more))

    threads = [threading.Thread(target=work, args=(client, 3 * number)) for number, client in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def main() -> None:
    """Measure, print, and write the record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with server(given.model) as address, watching_others(result):
        result["overhead"] = measure_overhead(address, given.model, given.rounds)
        result["table"] = [measure_table(address, int(count), given.rounds) for count in given.clients.split(",")]
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
