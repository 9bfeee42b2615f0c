"""The trace of one's own requests: written beside the engine, bounded, continued after a restart, and over no other file."""

import threading
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from foreword.account import Account
from foreword.cache import ModelFingerprint, Namespace
from foreword.errors import ConfigError
from foreword.events import StepFinished
from foreword.replay import read_trace
from foreword.serving.trace_file import TraceFile, open_trace
from foreword.testing import finished
from foreword.tokens import pack_tokens

SPACE = Namespace(ModelFingerprint("weights"))


class Notes:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, text: str, **more: Any) -> None:
        self.told.append(("warning", text, more))

    def error(self, text: str, **more: Any) -> None:
        self.told.append(("error", text, more))


def opened(path: Path, notes: Notes | None = None, **options: int) -> TraceFile:
    return TraceFile(open_trace(path), 0.0, notes or Notes(), **options)  # type: ignore[arg-type]


def event(length: int = 10, now: float = 1.0):  # type: ignore[no-untyped-def]
    return finished(pack_tokens(range(length)), Account(length), SPACE, now, "r")


def prompts(path: Path) -> list[int]:
    with path.open("rb") as stream:
        return [request.prompt_tokens for request in read_trace(stream).requests]


def test_what_ends_is_written_and_a_restart_continues(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for lengths in ((3, 5), (7,)):
        trace = opened(path)
        trace.sink(StepFinished(1.0, (), 1))
        for length in lengths:
            trace.sink(event(length))
        trace.close()
    assert prompts(path) == [3, 5, 7]
    assert path.stat().st_mode & 0o077 == 0, "only its owner reads it"


def test_a_line_that_was_cut_off_goes(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    trace = opened(path)
    trace.sink(event(3))
    trace.sink(event(4))
    trace.close()
    path.write_bytes(path.read_bytes()[:-20])
    trace = opened(path)
    trace.sink(event(5))
    trace.close()
    assert prompts(path) == [3, 5]


@pytest.mark.parametrize("content", [b"hello", b"hello\n", b'{"format":"other"}\n'])
def test_another_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"notes.txt', which is no trace of Foreword.*Name a new file"):
        opened(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*No such file.*Name a new file"):
        opened(tmp_path / "nowhere" / "trace.jsonl")


def test_what_waits_is_bounded_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    notes = Notes()
    trace = opened(tmp_path / "trace.jsonl", notes, waiting_bytes=100)
    trace.sink(event(26))
    trace.close()
    assert trace.dropped == 1
    assert prompts(tmp_path / "trace.jsonl") == []
    assert notes.told == [
        ("warning", "requests are missing in the trace", {"file": str(tmp_path / "trace.jsonl"), "missing": 1})
    ]


def test_room_comes_back_when_a_request_is_written(tmp_path: Path) -> None:
    trace = opened(tmp_path / "trace.jsonl", waiting_bytes=2**20)
    for _ in range(100):
        trace.sink(event(1000))
    trace.close()
    assert trace.dropped + len(prompts(tmp_path / "trace.jsonl")) == 100
    assert trace.dropped == 0


class FullDisk(FileIO):
    """Takes half of what it is given, then nothing more."""

    def write(self, data: Any) -> int:
        if self.seek(0, 2) > 100:
            raise OSError(28, "No space left on device")
        return super().write(data[: len(data) // 2 + 1])


def test_a_full_disk_is_said_once_and_leaves_whole_lines(tmp_path: Path) -> None:
    notes, path = Notes(), tmp_path / "trace.jsonl"
    trace = TraceFile(FullDisk(path, "a+"), 0.0, notes)  # type: ignore[arg-type]
    for _ in range(3):
        trace.sink(event())
    trace.close()
    assert trace.dropped == 3
    assert path.read_bytes().count(b"\n") == 1
    assert path.read_bytes().endswith(b"}\n")
    assert [(kind, text) for kind, text, _ in notes.told] == [
        ("error", "the trace cannot be written"), ("warning", "requests are missing in the trace"),
    ]  # fmt: skip
    assert not [thread for thread in threading.enumerate() if thread.name == "foreword-trace"]
