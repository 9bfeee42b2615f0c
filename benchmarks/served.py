"""A server in a process of its own, and clients that do not behave, for faults.py."""

import hashlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

COMMAND = [sys.executable, "-c", "from foreword.cli.main import run; run()", "serve"]
BASE = ["--port", "0", "--kv-cache-mb", "8", "--no-self-test", "--served-model-name", "tiny"]
ASKED: dict[str, Any] = {"model": "tiny", "prompt": "the quick brown fox", "max_tokens": 2}
LONG: dict[str, Any] = {"model": "tiny", "prompt": "the", "max_tokens": 900, "ignore_eos": True}


class Served:
    """A server in a process of its own. ``unread``: nobody reads what it writes to standard error."""

    def __init__(self, model: str, *options: str, unread: bool = False, files: int | None = None, **environment: str):
        def limited() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        options = (*BASE, *options, "--port", str(self.port))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREWORD_")}
        self.process = subprocess.Popen(
            [*COMMAND, model, *_last(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=kept | environment,
            preexec_fn=limited,
        )
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        if not unread:
            self.reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.lines.append(line.decode(errors="replace").rstrip())

    def wait_ready(self, seconds: float = 60) -> "Served":
        wait_for(lambda: self.process.poll() is not None or self.status("/ready") == 200, seconds)
        assert self.process.poll() is None, "\n".join(self.lines[-5:])
        return self

    def status(self, path: str, body: dict[str, Any] | None = None, **headers: Any) -> int:
        """The status of an answer; 0 if none came."""
        try:
            return self.ask(path, body, **headers)[0]
        except OSError:
            return 0

    def ask(self, path: str, body: dict[str, Any] | None = None, *, timeout: float = 30, **headers: Any) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is None:
                connection.request("GET", path, headers=given)
            else:
                connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **given})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)}.* ([-+.e\d]+)$", self.ask("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def said(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]

    def end(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal and wait; the exit status, as a shell has it."""
        self.process.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds: float = 20) -> int:
        status = self.process.wait(seconds)
        if self.reader.ident is not None:
            self.reader.join(5)
        return status if status >= 0 else 128 - status


def _last(options: tuple[str, ...]) -> list[str]:
    """Options with values, the last one of each."""
    found: dict[str, list[str]] = {}
    place = 0
    while place < len(options):
        name, place = options[place], place + 1
        value = [options[place]] if place < len(options) and not options[place].startswith("--") else []
        place += len(value)
        found[name] = [name, *value]
    return [word for words in found.values() for word in words]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def half_body(served: Served, announced: int = 1000, sent: int = 10) -> socket.socket:
    connection = served.connect()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {announced}\r\n\r\n"
    connection.sendall(head.encode() + b"x" * sent)
    return connection


def received(connection: socket.socket, seconds: float = 20) -> bytes:
    """All that comes until the other side closes; a reset is an end, too."""
    connection.settimeout(seconds)
    got = b""
    try:
        while piece := connection.recv(2**16):
            got += piece
    except ConnectionError:
        pass
    return got


def slow_head(served: Served) -> socket.socket:
    connection = served.connect()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n")
    return connection


def posted(path: str, body: dict[str, Any]) -> bytes:
    """A request as it goes over the wire."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return f"{head}\r\n\r\n".encode() + data


@dataclass(frozen=True)
class Trial:
    """A fault: what is tried, what was seen before it was mended, and how it is tried; returns what is seen now."""

    tried: str
    before: str
    run: Callable[["Bench"], str]


class Bench:
    """Starts servers on one model, and ends them all."""

    def __init__(self, model: Path, folder: Path, stack: ExitStack):
        self.model, self.folder, self.stack = model, folder, stack

    def serve(self, *options: str, **more: Any) -> Served:
        served = Served(str(self.model), *options, **more)
        self.stack.callback(_kill, served.process)
        return served

    def ready(self, *options: str, **more: Any) -> Served:
        return self.serve(*options, **more).wait_ready()

    def keys_file(self, **keys: str) -> Path:
        file = self.folder / "keys"
        lines = [f"{tenant} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n" for tenant, key in keys.items()]
        file.write_text("".join(lines))
        return file


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait(20)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


TRIALS: list[Trial] = []


def trial(tried: str, before: str) -> Callable[[Callable[[Bench], str]], Callable[[Bench], str]]:
    def add(run: Callable[[Bench], str]) -> Callable[[Bench], str]:
        TRIALS.append(Trial(tried, before, run))
        return run

    return add
