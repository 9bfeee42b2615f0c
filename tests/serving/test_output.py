"""Lines on their way out: nobody waits for a reader, what is lost is counted and told, nothing is lost at a normal end."""

import io
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from foreword.serving.log import make_log
from foreword.serving.output import MOST_LINES, QueuedOutput, queued_standard_output


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: the end that is read, as a descriptor, and the other one as a stream."""
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="utf-8") as stream:
        yield read, stream
    os.close(read)


def drained(read: int, output: QueuedOutput) -> bytes:
    """What comes until the output has settled."""
    os.set_blocking(read, False)
    got, end = b"", time.monotonic() + 20
    while time.monotonic() < end:
        try:
            got += os.read(read, 2**20)
        except BlockingIOError:
            if output.settle(0.01):
                with_rest = b""
                try:
                    with_rest = os.read(read, 2**20)
                except BlockingIOError:
                    return got
                got += with_rest
    raise AssertionError("it did not settle")


def test_what_is_written_arrives_in_order() -> None:
    target = io.StringIO()
    output = QueuedOutput(target)
    for number in range(1000):
        print(number, "ü", file=output)
    print("no end of line", end="", file=output)
    assert output.finish()
    assert target.getvalue() == "".join(f"{number} ü\n" for number in range(1000)) + "no end of line"
    assert output.dropped == 0


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_was_lost_is_told(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    output = QueuedOutput(stream)
    count, began = MOST_LINES + 3000, time.monotonic()
    for number in range(count):
        print(f"line {number} {'x' * 100}", file=output)
    assert time.monotonic() - began < 5
    assert output.dropped > 1000
    assert not output.settle(0.05), "it is stuck, and says so in time"
    text = drained(read, output).decode()
    kept = [line for line in text.splitlines() if line.startswith("line ")]
    numbers = [int(line.split()[1]) for line in kept]
    assert kept == [f"line {number} {'x' * 100}" for number in numbers], "each is whole"
    assert numbers[:MOST_LINES] == list(range(MOST_LINES)), "what fitted the queue at first is there"
    assert numbers == sorted(set(numbers)), "in order, and once"
    assert len(kept) + output.dropped == count
    assert sum(int(number) for number in re.findall(r'"(\d+) lines were dropped"', text)) == output.dropped
    print("and on", file=output)
    assert output.finish()
    assert os.read(read, 100) == b"and on\n"


def test_very_long_lines_are_bounded_too(pipe: tuple[int, TextIO]) -> None:
    output = QueuedOutput(pipe[1])
    for _ in range(20):
        print("x" * 2**20, file=output)
    assert output.dropped >= 15
    drained(pipe[0], output)


def test_a_line_longer_than_the_bound_goes_out_when_it_is_alone() -> None:
    target = io.StringIO()
    output = QueuedOutput(target)
    print("x" * 5 * 2**20, file=output)
    assert output.finish()
    assert len(target.getvalue()) == 5 * 2**20 + 1


def test_a_reader_that_has_gone_costs_its_lines_only() -> None:
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    os.close(read)
    output = QueuedOutput(stream)
    for _ in range(100):
        print("to nobody", file=output)
    assert output.finish()
    assert output.dropped == 100
    stream.close()


def test_a_full_disk_costs_its_lines_only() -> None:
    with Path("/dev/full").open("w") as full:
        output = QueuedOutput(full)
        print("no room", file=output)
        assert output.finish()
        assert output.dropped == 1


def test_a_pipe_that_does_not_wait_loses_nothing(pipe: tuple[int, TextIO]) -> None:
    os.set_blocking(pipe[1].fileno(), False)
    output = QueuedOutput(pipe[1])
    for number in range(5000):
        print(f"line {number} {'x' * 100}", file=output)
    assert len(drained(pipe[0], output).splitlines()) == 5000
    assert output.dropped == 0


def test_many_threads_write_whole_lines() -> None:
    target = io.StringIO()
    output = QueuedOutput(target)

    def write(name: str) -> None:
        for _ in range(500):
            output.write(name * 20 + "\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert output.finish()
    assert sorted(target.getvalue().splitlines()) == sorted(name * 20 for name in "abcd" for _ in range(500))


def test_a_signal_s_handler_may_write_while_its_thread_writes() -> None:
    target = io.StringIO()
    output = QueuedOutput(target)
    seen = []

    def handle(*_: object) -> None:
        seen.append(1)
        print("from the handler", file=output)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(seen) <= 10:
            print("from the thread", file=output)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert output.finish(), "no deadlock"


def test_every_writer_of_the_process_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with queued_standard_output():
        print("printed")
        make_log().info("logged")
        handler = logging.StreamHandler()  # as uvicorn and Python itself make them
        handler.emit(logging.makeLogRecord({"msg": "a library's line"}))
        print("straight to standard error", file=sys.stderr)
    assert out.getvalue() == "printed\n"
    assert ["logged" in line for line in err.getvalue().splitlines()] == [True, False, False]
    assert err.getvalue().endswith("a library's line\nstraight to standard error\n")
    assert (sys.stdout, sys.stderr) == (out, err)
