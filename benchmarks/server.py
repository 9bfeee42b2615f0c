"""What the server adds to the engine, and what the cache brings to its clients.

    python benchmarks/server.py [--model DIR] [--rounds N] [--clients 1,8,32] [--wrk SECONDS] [--json FILE]
    python benchmarks/server.py --beside OTHER/src [--rounds N] [--clients 1,8,32]

overhead  One client asks for one token, with the table cached: ``LLM.generate`` in this process, and the same prompt over
          HTTP from a server in another process, in turn, 20 ms after each other: the threads of an engine that has just
          worked spin for some milliseconds, which the other one would pay for. The difference is what parsing, threads,
          sockets and the client cost.
table     The table workload over HTTP, streamed: time to the first token, and requests a second, for so many clients at a
          time. Warm: the table is in the cache. Cold: the same requests with ``prompt_cache_options.mode: explicit`` and no
          mark, which neither use nor feed the cache. Both kinds take turns, a round each.
beside    The warm table workload alone, in turn on this tree's server and on that of another one, which run side by side:
          requests a second of both, and the median of the rounds' ratios.
wrk       The same load for so many seconds each, made by wrk (https://github.com/wg/wrk), answers of one token.

Run it on a quiet machine: ``other_cores`` tells how many cores were busy with something else than this and its server.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
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
REST = 0.02  # seconds
WRK_SCRIPT = """
local bodies, last = {BODIES}, 0
request = function()
  last = last % #bodies + 1
  return wrk.format("POST", nil, {["content-type"] = "application/json"}, bodies[last])
end
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local p50, p99 = latency:percentile(50) / 1e6, latency:percentile(99) / 1e6
  io.write(string.format("RESULT %d %f %f %f %d\\n", summary.requests, summary.duration / 1e6, p50, p99, failed))
end
"""


@contextmanager
def server(model: str | None, source: str | None = None) -> Iterator[tuple[str, int]]:
    """``foreword serve`` in a process of its own, of another tree's ``source`` if there is one; gives its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from foreword.cli.main import run; run()", "serve", *([model] if model else [])]
    command += ["--port", str(port), "--served-model-name", "served"]
    environment = os.environ if source is None else {**os.environ, "PYTHONPATH": source}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
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

    def ask_directly(prompt: str) -> float:
        time.sleep(REST)
        start = time.perf_counter()
        llm.generate(prompt, params)
        return time.perf_counter() - start

    def ask_over_http(prompt: str) -> float:
        time.sleep(REST)
        return client.ask(prompt, max_tokens=1)

    for number in range(rounds + 1):
        for place, prompt in enumerate(asked):
            if place % 2:
                one, other = ask_directly(prompt), ask_over_http(prompt)
            else:
                other, one = ask_over_http(prompt), ask_directly(prompt)
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
    found: dict[str, Any] = {"clients": clients}
    times: dict[str, list[float]] = {"warm": [], "cold": []}
    seconds = {"warm": 0.0, "cold": 0.0}
    _round(address, clients, {})
    for _ in range(rounds):
        for kind, more in (("cold", EXPLICIT), ("warm", {})):
            start = time.perf_counter()
            times[kind] += _round(address, clients, more)
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


def _round(address: tuple[str, int], clients: int, more: dict[str, Any]) -> list[float]:
    """Each client asks all prompts, each beginning with another one."""
    times: list[float] = []

    def work(client: Client, shift: int) -> None:
        asked = prompts()
        for number in range(len(asked)):
            times.append(client.ask(asked[(number + shift) % len(asked)], max_tokens=16, stream=True, **more))

    threads = [threading.Thread(target=work, args=(Client(address), 3 * number)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measure_beside(own: tuple[str, int], other: tuple[str, int], clients: int, rounds: int) -> dict[str, float]:
    """Requests a second of two servers, in turn."""
    rates: dict[tuple[str, int], list[float]] = {own: [], other: []}
    for number in range(rounds + 1):
        for address in (own, other) if number % 2 else (other, own):
            start = time.perf_counter()
            count = len(_round(address, clients, {}))
            if number:  # the first round fills the caches
                rates[address].append(count / (time.perf_counter() - start))
    ratio = median(a / b for a, b in zip(rates[own], rates[other], strict=True))
    return {"clients": clients, "own": median(rates[own]), "other": median(rates[other]), "ratio": ratio}


def measure_wrk(address: tuple[str, int], clients: int, seconds: int) -> dict[str, Any]:
    """What wrk measures with so many connections, warm and cold; an answer of one token is there when its first token is."""
    found: dict[str, Any] = {"clients": clients}
    _wrk(address, clients, 2, {})
    for kind, more in (("cold", EXPLICIT), ("warm", {})):
        requests, duration, p50, p99, errors = _wrk(address, clients, seconds, more)
        if errors:
            raise SystemExit(f"{errors:g} of the requests of wrk failed.")
        found[kind] = {
            "requests": int(requests),
            "ttft_p50": p50,
            "ttft_p99": p99,
            "requests_per_second": requests / duration,
        }
    return found


def _wrk(address: tuple[str, int], clients: int, seconds: int, more: dict[str, Any]) -> list[float]:
    """Requests, seconds, p50 and p99 in seconds, errors."""
    host, port = address
    body = {"model": "served", "temperature": 0, "max_tokens": 1, **more}
    bodies = ", ".join(f"[==[{json.dumps({**body, 'prompt': prompt})}]==]" for prompt in prompts())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.replace("BODIES", bodies))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{seconds}s",
            "--timeout",
            "60s",
            "-s",
            script.name,
            f"http://{host}:{port}/v1/completions",
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in out.splitlines() if line.startswith("RESULT"))
    return [float(word) for word in line.split()[1:]]


def main() -> None:
    """Measure, print, and write the record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--wrk", type=int, metavar="SECONDS", default=0)
    parser.add_argument("--beside", metavar="OTHER/src")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    counts = [int(count) for count in given.clients.split(",")]
    if given.beside:
        with server(given.model) as own, server(given.model, given.beside) as other:
            result["beside"] = [measure_beside(own, other, count, given.rounds) for count in counts]
    else:
        with server(given.model) as address, watching_others(result):
            result["overhead"] = measure_overhead(address, given.model, given.rounds)
            result["table"] = [measure_table(address, count, given.rounds) for count in counts]
            if given.wrk:
                result["wrk"] = [measure_wrk(address, count, given.wrk) for count in counts]
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
