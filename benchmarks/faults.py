"""Faults that clients, operators and machines make, tried one after the other on live servers: what happens, in a table.

    python benchmarks/faults.py [--only WORD] [--model DIR]

Each fault gets a server of its own on 127.0.0.1 (a tiny random model, unless one is named). The exit status is 1 if anything
is not as it should be. It takes about two minutes.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from served import ASKED, LONG, TRIALS, Bench, Served, half_body, posted, received, slow_head, trial, wait_for


@trial("a log pipe that nobody reads, 600 requests, then SIGTERM", "stuck after 193 requests, SIGTERM ignored")
def unread_pipe(bench: Bench) -> str:
    served = bench.ready(unread=True)
    answered = sum(served.status("/v1/completions", {**ASKED, "max_tokens": 1}) == 200 for _ in range(600))
    status = served.end()
    assert (answered, status) == (600, 143)
    return f"{answered} answered; SIGTERM ends it with {status}"


@trial("the same with long lines, and a reader that comes back", "stuck")
def pipe_read_again(bench: Bench) -> str:
    served = bench.ready("--log-prompts", unread=True)
    asked = {**ASKED, "prompt": "the quick brown fox jumps over the lazy dog " * 90, "max_tokens": 1}
    count = 1300
    with ThreadPoolExecutor(8) as pool:
        answered = sum(status == 200 for status in pool.map(lambda _: served.status("/v1/completions", asked), range(count)))
    lost = served.metric("foreword_log_lines_dropped_total")
    served.reader.start()
    wait_for(lambda: bool(served.said("lines were dropped")) or not lost)
    status = served.end()
    logged = sum('"event": "request"' in line for line in served.lines)
    assert answered == count
    assert logged + lost == count, (logged, lost)
    assert status == 143
    return f"{answered} answered; {lost:.0f} lines dropped, counted and told; {logged} written"


@trial("500 requests and SIGTERM at once, the pipe read: lines in the log", "500")
def no_line_lost(bench: Bench) -> str:
    served = bench.ready()
    with ThreadPoolExecutor(4) as pool:
        asked = {**ASKED, "max_tokens": 1}
        assert set(pool.map(lambda _: served.status("/v1/completions", asked), range(500))) == {200}
    served.end()
    logged = sum('"event": "request"' in line for line in served.lines)
    assert logged == 500
    return f"{logged}"


@trial("the reader of the log goes away", "error after error")
def reader_gone(bench: Bench) -> str:
    served = bench.ready(unread=True)
    assert served.process.stderr is not None
    served.process.stderr.close()
    answered = sum(served.status("/v1/completions", ASKED) == 200 for _ in range(20))
    wait_for(lambda: served.metric("foreword_log_lines_dropped_total") >= 20)
    lost = served.metric("foreword_log_lines_dropped_total")
    status = served.end()
    assert answered == 20 and status == 143
    return f"{answered} of 20 answered, {lost:.0f} lines counted as dropped, SIGTERM: {status}"


# ---- what does not come, or comes slowly


@trial("100 half bodies without keys, then a healthy client", "429 for everybody until the body timeout")
def half_bodies(bench: Bench) -> str:
    served = bench.ready("--body-timeout", "2")
    halves = [half_body(served) for _ in range(100)]
    time.sleep(0.3)
    statuses = [served.status("/v1/completions", ASKED) for _ in range(20)]
    ends = {received(each)[9:12] for each in halves}
    assert set(statuses) == {200}
    assert ends == {b"408"}
    return "200 for all; the halves get 408 when their time is up"


@trial("8 clients who together keep 60 MB of half bodies, room for 16", "all of it in memory")
def much_of_bodies(bench: Bench) -> str:
    served = bench.ready("--body-timeout", "20", "--max-receiving-mb", "16", "--max-body-mb", "8")
    halves = [half_body(served, 8 * 2**20, 15 * 2**19) for _ in range(8)]
    status = served.status("/v1/completions", {**ASKED, "user": "x" * 2**20})
    early = 0
    for each in halves[:6]:
        each.settimeout(5)
        early += each.recv(100)[9:12] == b"429"
    assert status == 200
    assert early == 6
    return "the oldest 6 are told to come back (429); a healthy 1 MB body: 200"


@trial("a body of which a byte comes each 0.2 s", "kept until the timeout, counted as a request")
def trickled_body(bench: Bench) -> str:
    served = bench.ready("--body-timeout", "1", "--max-requests-per-key", "1")
    connection = half_body(served)
    statuses = set()
    began = time.monotonic()
    connection.settimeout(0.01)
    got = b""
    while not got and time.monotonic() - began < 10:
        connection.sendall(b"x")
        statuses.add(served.status("/v1/completions", ASKED))
        time.sleep(0.2)
        try:
            got = connection.recv(4096)
        except TimeoutError:
            continue
    assert statuses == {200}
    assert got[9:12] == b"408"
    return f"408 after {time.monotonic() - began:.1f} s (limit 1); others, one at a time: 200"


@trial("300 slow heads", "never closed")
def slow_heads(bench: Bench) -> str:
    served = bench.ready("--header-timeout", "2")
    heads = [slow_head(served) for _ in range(300)]
    ends = [received(each, 10)[9:12] for each in heads]
    assert set(ends) == {b"408"}
    assert served.status("/v1/completions", ASKED) == 200
    served.end()
    lines = len(served.said('"slow head"'))
    assert 1 <= lines <= 12
    return f"408 and closed after 2 s; {lines} lines in the log"


@trial("300 slow heads at 256 open files, healthy clients beside them", "healthy clients are reset")
def few_files(bench: Bench) -> str:
    served = bench.ready("--header-timeout", "5", files=256)
    heads: list[socket.socket] = []
    statuses = []
    for _ in range(30):
        heads += [slow_head(served) for _ in range(10)]
        statuses.append(served.status("/v1/completions", ASKED))
    with ThreadPoolExecutor(16) as pool:
        statuses += pool.map(lambda _: served.status("/v1/completions", ASKED), range(100))
    warned = served.said("few connections")
    for each in heads:
        each.close()
    assert set(statuses) == {200}, statuses
    assert warned
    assert served.end() == 143
    return f"{len(statuses)} of {len(statuses)} answered; told at start: {json.loads(warned[0])['reason'][:52]} ..."


@trial("600 connections at once at 256 open files, then a healthy client", "resets, or a spinning server")
def burst(bench: Bench) -> str:
    served = bench.ready("--header-timeout", "2", files=256)
    crowd = []
    for _ in range(600):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", served.port))
        crowd.append(each)
    statuses = [served.status("/v1/completions", ASKED) for _ in range(10)]
    for each in crowd:
        each.close()
    used = cpu_seconds(served.process.pid)
    time.sleep(2)
    spun = cpu_seconds(served.process.pid) - used
    assert set(statuses) == {200}
    assert spun < 1, spun
    return f"200 for all; {spun:.1f} s of CPU time in 2 s afterwards"


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@trial("40 connections for a limit of 10, all idle; a healthy client", "no limit")
def limited(bench: Bench) -> str:
    served = bench.ready("--max-connections", "10", "--header-timeout", "30")
    idle = [served.connect() for _ in range(40)]
    statuses = [served.status("/v1/completions", ASKED) for _ in range(5)]
    assert set(statuses) == {200}
    held = served.metric("foreword_connections")
    assert held <= 11
    for each in idle:
        each.close()
    return f"200 for all, {held:.0f} connections open"


@trial("connections that stay idle after an answer", "closed after 5 s")
def idle(bench: Bench) -> str:
    served = bench.ready("--keep-alive-timeout", "1")
    connection = served.connect()
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    began = time.monotonic()
    got = received(connection)
    assert b"200 OK" in got
    return f"closed after {time.monotonic() - began:.1f} s (limit 1)"


@trial("blank lines and nothing else, one each 0.2 s", "never closed")
def blank_lines(bench: Bench) -> str:
    served = bench.ready("--header-timeout", "1")
    connection = served.connect()
    began = time.monotonic()
    try:
        while time.monotonic() - began < 10:
            connection.sendall(b"\r\n")
            time.sleep(0.2)
    except OSError:
        pass
    assert time.monotonic() - began < 5
    return f"closed after {time.monotonic() - began:.1f} s (limit 1)"


@trial("a client that asks and does not read its answer", "its connection stays for ever")
def unread_answer(bench: Bench) -> str:
    served = bench.ready("--send-timeout", "1", "--keep-alive-timeout", "1")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", served.port))
    for _ in range(40):
        connection.sendall(b"GET /dashboard/vendor/d3.min.js HTTP/1.1\r\nhost: localhost\r\n\r\n")
    wait_for(lambda: served.metric("foreword_connections") <= 1, 15)
    connection.close()
    return "given up after the send timeout"


def half_closed(served: Served, path: str, body: dict[str, Any] | None) -> bytes:
    connection = served.connect()
    if body is None:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    else:
        connection.sendall(posted(path, body))
    connection.shutdown(socket.SHUT_WR)
    return received(connection, 60)


@trial("half-closed clients at every endpoint, streaming or not", "8 of 10 without an answer")
def half_closed_clients(bench: Bench) -> str:
    served = bench.ready()
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "fox"}], "max_tokens": 30}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/completions", {**LONG, "max_tokens": 60}),
        ("/v1/chat/completions", chat),
        ("/v1/messages", chat),
        ("/v1/responses", {"model": "tiny", "input": "fox", "max_output_tokens": 30}),
    ]
    asked: list[tuple[str, dict[str, Any] | None]] = [
        *((path, {**body, "stream": stream}) for path, body in bodies for stream in (False, True)),
        *((path, None) for path in ("/v1/models", "/health", "/metrics", "/dashboard/", "/v1/cache/recent")),
    ]
    got = [half_closed(served, path, body) for path, body in asked]
    whole = [b" 200 OK" in answer and (b"0\r\n\r\n" in answer[-9:] or b"content-length" in answer) for answer in got]
    assert all(whole), [asked[at][0] for at, each in enumerate(whole) if not each]
    return f"{len(got)} of {len(got)} answered whole"


@trial("clients that are wholly gone, streaming or not", "their blocks are freed")
def gone_clients(bench: Bench) -> str:
    served = bench.ready("--max-num-batched-tokens", "64")
    for stream in (False, True):
        connection = served.connect()
        connection.sendall(posted("/v1/completions", {**LONG, "n": 4, "stream": stream}))
        wait_for(lambda: served.metric("vllm:num_requests_running") > 0)
        connection.close()
        wait_for(lambda: served.metric("vllm:num_requests_running") == 0, 10)
    wait_for(lambda: len(served.said('"outcome": "abort"')) == 2)
    return "aborted, nothing is held"


# ---- signals


@trial("SIGHUP with a file of keys: one new, one gone; then a broken file", "the process dies")
def hangup(bench: Bench) -> str:
    file = bench.keys_file(ann="a", bob="b")
    served = bench.ready("--api-keys-file", str(file))
    with ThreadPoolExecutor(1) as pool:
        open_request = pool.submit(served.ask, "/v1/completions", {**LONG, "max_tokens": 40}, timeout=60, x_api_key="b")
        time.sleep(0.3)
        bench.keys_file(ann="a", cid="c")
        served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: bool(served.said("API keys read again")))
        statuses = [served.status("/v1/models", x_api_key=key) for key in "abc"]
        file.write_text("not a line of keys\n")
        served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: bool(served.said("API keys kept")))
        after = [served.status("/v1/models", x_api_key=key) for key in "abc"]
        assert open_request.result()[0] == 200
    assert statuses == after == [200, 401, 200]
    assert served.end() == 143
    return "ann 200, bob 401, cid 200, bob's open request answered; the broken file is named, the keys stay"


@trial("SIGHUP, SIGUSR1, SIGUSR2 without a file of keys, and before it is ready", "the process dies")
def other_signals(bench: Bench) -> str:
    served = bench.serve()
    wait_for(lambda: _handles(served.process.pid, signal.SIGHUP))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        served.process.send_signal(number)
    served.wait_ready()
    wait_for(lambda: len(served.said("signal ignored")) == 3)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        served.process.send_signal(number)
    wait_for(lambda: len(served.said("signal ignored")) == 6)
    assert served.status("/v1/completions", ASKED) == 200
    return "one line each, and it serves on"


def _handles(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"SigCgt:\s*(\w+)", status)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


@trial("a second Ctrl-C, or SIGTERM, while it drains", "ignored for 30 s, then a traceback")
def second_signal(bench: Bench) -> str:
    seen = []
    for first, second, right in (
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
    ):
        served = bench.ready("--max-num-batched-tokens", "64")
        connection = served.connect()
        connection.sendall(posted("/v1/completions", {**LONG, "n": 8}))
        wait_for(lambda served=served: served.metric("vllm:num_requests_running") > 0)  # type: ignore[misc]
        served.process.send_signal(first)
        wait_for(lambda served=served: bool(served.said("once more ends at once")))  # type: ignore[misc]
        began = time.monotonic()
        status = served.end(second)
        connection.close()
        assert status == right
        assert served.said("ended at once")
        assert not served.said("Traceback")
        seen.append(f"{status} after {time.monotonic() - began:.1f} s")
    return ", ".join(seen) + ", with a line and no traceback"


@trial("one Ctrl-C while a request runs", "answered, then the end")
def first_signal(bench: Bench) -> str:
    served = bench.ready()
    with ThreadPoolExecutor(1) as pool:
        open_request = pool.submit(served.ask, "/v1/completions", {**LONG, "max_tokens": 100}, timeout=60)
        wait_for(lambda: served.metric("vllm:num_requests_running") > 0)
        status = served.end(signal.SIGINT, 40)
        answered = open_request.result()[0]
    assert (answered, status) == (200, 130)
    assert served.said("Stopped.") and not served.said("Traceback")
    return "answered with 200, exit status 130"


# ---- who may ask


@trial("400 wrong keys from one address", "counted, never logged")
def wrong_keys(bench: Bench) -> str:
    served = bench.ready("--api-key", "right")
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda number: served.status("/v1/models", x_api_key=f"wrong-{number}"), range(400)))
    served.end()
    lines = [json.loads(line) for line in served.said('"unauthorized"')]
    kept_back = sum(line.get("more", 0) for line in lines)
    told = sum("more" not in line for line in lines)
    assert statuses == {401}
    assert told + kept_back == 400
    assert told <= 20
    assert not served.said("wrong-")
    return f"{told} lines with the address and a short hash, and {kept_back} more in a count; no key in them"


@trial("a page elsewhere whose name leads to a keyless server on loopback", "answered")
def rebinding(bench: Bench) -> str:
    served = bench.ready()
    evil = [served.status(path, host="evil.example") for path in ("/v1/models", "/metrics", "/dashboard/", "/")]
    page = served.status("/v1/completions", ASKED, origin="http://evil.example")
    good = [served.status("/v1/models", host=host) for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST.")]
    named = bench.ready("--allowed-host", "my.name")
    allowed = [named.status("/v1/models", host=host) for host in ("my.name:80", "other.name")]
    keyed = bench.ready("--api-key", "k").status("/v1/models", host="any.example", x_api_key="k")
    assert (set(evil), page, set(good), allowed, keyed) == ({403}, 403, {200}, [200, 403], 200)
    return "403 for another Host or Origin; names of this machine, or those allowed: 200; with keys any"


@trial("a typo in --operator, or --operator without keys", "silent")
def operator_typo(bench: Bench) -> str:
    file = bench.keys_file(ann="a", boss="b")
    typo = bench.serve("--api-keys-file", str(file), "--operator", "bos")
    keyless = bench.serve("--operator", "boss")
    statuses = typo.ended(60), keyless.ended(60)
    assert statuses == (2, 2)
    said = " ".join(typo.lines)
    assert "'boss'" in said and "ann, boss" in said
    assert "no API keys" in " ".join(keyless.lines)
    return "refused at start (exit status 2), with the known tenants"


# ---- models, figures, pages


@trial("a model whose weights are all NaN", "ready; the self-test blames threads; every request 500")
def broken_weights(bench: Bench) -> str:
    from safetensors.torch import load_file, save_file

    copy = bench.folder / "broken"
    shutil.copytree(bench.model, copy)
    tensors = load_file(copy / "model.safetensors")
    save_file(
        {name: tensor * float("nan") for name, tensor in tensors.items()}, copy / "model.safetensors", {"format": "pt"}
    )
    served = Bench(copy, bench.folder, bench.stack).serve()
    status = served.ended(60)
    (said,) = served.said("NaN or inf")
    assert status == 2
    return f"refused at start (exit status 2), by the tensor's name: {said[:60]} ..."


@trial("gauges before the first work", "free, evictable, held all 0")
def gauges(bench: Bench) -> str:
    served = bench.ready()
    text = served.ask("/metrics")[1]
    found = dict(re.findall(r'foreword_kv_blocks{.*state="(\w+)"} ([\d.e+]+)', text))
    counts = {name: float(value) for name, value in found.items()}
    waiting = served.metric("vllm:num_requests_waiting"), served.metric("vllm:num_requests_running")
    assert counts["free"] > 0 and counts["evictable"] == counts["held"] == 0 and sum(waiting) == 0
    return f"free {counts['free']:.0f}, evictable 0, held 0, running 0, waiting 0"


@trial("/, /docs, and what they load from elsewhere", "/ is 404; /docs loads scripts from elsewhere")
def pages(bench: Bench) -> str:
    served = bench.ready()
    index, shown = served.ask("/"), served.ask("/", accept="text/html")
    docs = served.ask("/docs")
    assert index[0] == shown[0] == docs[0] == 200
    assert "/dashboard" in json.loads(index[1])["endpoints"]
    assert not re.findall(r"(?:src|href)=\W?(?:https?:)?//", shown[1] + docs[1])
    assert "/v1/chat/completions" in docs[1]
    return "both answer, and load nothing"


@trial("what serve prints at start", "not the page's address")
def addresses(bench: Bench) -> str:
    served = bench.ready()
    wait_for(lambda: bool(served.said("Serving at")))
    line = served.said("Serving at")[0]
    assert f":{served.port}/v1" in line and f":{served.port}/dashboard" in line
    return re.sub(r":\d+", ":PORT", line)


@contextmanager
def made(model: Path | None) -> Iterator[Path]:
    """The model that is named, or a tiny one."""
    if model is not None:
        yield model
        return
    from foreword.testing.tiny_models import write_model

    with tempfile.TemporaryDirectory() as folder:
        yield write_model(Path(folder), "llama")


def main() -> int:
    """Try everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose description, or function, has this word")
    parser.add_argument("--model", type=Path, help="a model directory")
    options = parser.parse_args()
    wrong = 0
    print("| tried | before | now |\n|---|---|---|", flush=True)
    with made(options.model) as model:
        for each in TRIALS:
            if options.only not in f"{each.tried} {each.run.__name__}":
                continue
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                try:
                    now = each.run(Bench(model, Path(folder), stack))
                except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                    wrong += 1
                    now = f"**not as it should be**: {type(error).__name__} {error}"
            print(f"| {each.tried} | {each.before} | {now} |", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
