"""Grammars are compiled on trial in a process of their own, so that no client's grammar ends or stops this one."""

import contextlib
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).with_name("trial_compiler.py")
TOO_MUCH = "it takes more than 2 s of a processor or 500 MiB to compile, or stands too deep within itself"


class GrammarTrial:
    """The processes: one for each thread that asks at the same time, begun when there is none. Any thread may ask.

    size, special
        Of the model's vocabulary; its special tokens by name.
    """

    def __init__(self, size: int, special: Mapping[str, int]):
        self._known = json.dumps({"size": size, "special": dict(special)})
        self._lock = threading.Lock()
        self._idle: list[_Compiler] = []

    def fault(self, grammar: str) -> str | None:
        """What is wrong with a grammar; None if it can be compiled."""
        with self._lock:
            compiler = self._idle.pop() if self._idle else None
        compiler = compiler or self._start()
        answer = _ask(compiler.process, grammar)
        if answer is None:
            compiler.end()
            return TOO_MUCH
        with self._lock:
            self._idle.append(compiler)
        return answer or None

    def _start(self) -> "_Compiler":
        process = subprocess.Popen(
            [sys.executable, "-I", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is not for it
        )
        compiler = _Compiler(process, weakref.finalize(self, _end, process))
        _write(_pipe(process.stdin), self._known)
        return compiler


@dataclass(frozen=True)
class _Compiler:
    """A process, and what ends it: at the latest when nobody can ask any more."""

    process: subprocess.Popen[bytes]
    end: Callable[[], object]


def _ask(process: subprocess.Popen[bytes], grammar: str) -> str | None:
    """The answer of the process; None if it ended instead."""
    try:
        _write(_pipe(process.stdin), grammar)
    except BrokenPipeError:
        return None
    answers = _pipe(process.stdout)
    head = answers.read(8)
    if len(head) < 8:
        return None
    return answers.read(int.from_bytes(head, "little")).decode()


def _write(pipe: IO[bytes], text: str) -> None:
    data = text.encode("utf-8", "replace")
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # both were asked for
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the process; harmless if it has ended."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):  # what it has not read is of no use
            _pipe(pipe).close()
