"""The fleet on Ray Serve: a stream outlives the process that answers it. All else is shown by values in other tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

pytest.importorskip("ray", reason="foreword[cluster] is not installed")
COMMAND = [sys.executable, "-c", "from foreword.cli.main import run; run()", "cluster"]
OPTIONS = ["--replicas", "2", "--replica-cpus", "0.1", "--port", "0", "--draft", "off", "--kv-cache-mb", "16"]
BODY = {
    "model": "table-reader",
    "prompt": "The rows of a table, and its columns: " * 20,
    "max_tokens": 1000,
    "seed": 3,
    "stream": True,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a fleet of two, in processes of its own."""
    process = subprocess.Popen(
        [*COMMAND, *OPTIONS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_raylet_start_wait_time_s": "200"},
    )
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            found = re.search(r"Serving at (http://[\d.]+:\d+)/v1", line)
            if found:
                break
        else:
            pytest.fail("".join(said[-20:]))
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def replicas(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx2.get(f"{url}/v1/cache/counts", timeout=30).json()["fleet"]["replicas"]
    return found


def text(url: str, kill: bool = False) -> str:
    """An answer's text; at its third piece the process that gives it is killed."""
    pieces: list[str] = []
    with httpx2.stream("POST", f"{url}/v1/completions", json=BODY, timeout=120) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                pieces += [choice["text"] for choice in json.loads(line[6:])["choices"]]
            if kill and len(pieces) == 3:
                kill = False
                (busy,) = [each for each in replicas(url) if each["running"] or each["waiting"]]
                os.kill(busy["pid"], signal.SIGKILL)
    assert not kill
    return "".join(pieces)


@pytest.mark.timeout(400)
def test_a_stream_outlives_its_process(url: str) -> None:
    deadline = time.monotonic() + 60
    while len(replicas(url)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(replicas(url)) == 2
    undisturbed = text(url)
    assert text(url, kill=True) == undisturbed
    assert httpx2.get(f"{url}/v1/cache/counts", timeout=30).json()["fleet"]["resumed"] == 1
