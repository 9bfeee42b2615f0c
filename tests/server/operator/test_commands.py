"""foreword explain, top and report against a live server."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foreword.cli.explain import newest
from foreword.cli.main import app
from foreword.errors import InputError, NotFoundError, ParameterError, Unavailable
from server.live import Live
from server.operator.test_cache_api import RULES, keyed
from server.operator.test_page import CHROMIUM, HOSTILE


def run(*args: str, columns: int = 150) -> str:
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def loaded(serve: Callable[..., Live]) -> tuple[Live, list[str]]:
    """A server that has answered some requests, and their ids."""
    live, ids = serve(), []
    with live.client() as client:
        for minute in (30, 31, 32):
            prompt = f"It is 12:{minute}. [b]{RULES}[/b] {HOSTILE}"
            answer = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, "max_tokens": 2})
            ids.append(answer.json()["id"])
    return live, ids


def test_explain(loaded: tuple[Live, list[str]]) -> None:
    live, ids = loaded
    out = run("explain", ids[1], "--url", live.url)
    assert "volatile value: time" in out
    assert f"the prompt of {ids[0]}" in out
    assert "[b]You answer" in out  # a prompt is no markup
    assert json.loads(run("explain", ids[1], "--url", live.url, "--json"))["reason"] == "volatile_value"
    assert f"{ids[-1]}: " in run("explain", "last", "--url", live.url)
    listed = run("explain", "--url", f"{live.url}/v1")
    assert all(name in listed for name in ids)


def test_nothing_is_cut_where_a_terminal_has_80_columns(serve: Callable[..., Live]) -> None:
    tenants, keys = keyed("ann", "boss")
    live = serve(tenants=tenants, operators=("boss",))
    ids = []
    for tenant in ("ann", "boss"):
        with live.client(headers={"x-api-key": keys[tenant]}) as client:
            ids.append(client.post("/v1/completions", json={"model": "tiny", "prompt": RULES, "max_tokens": 2}).json()["id"])
    listed = run("explain", "--url", live.url, "--api-key", keys["boss"], columns=80)
    shown = run("top", "--once", "--url", live.url, "--api-key", keys["boss"], columns=80)
    for words in ("request ", "ago ", "prompt ", "reused ", "first seen, ann", "namespace differs, boss", *ids):
        assert words in listed
        assert words in shown
    assert "…" not in listed
    assert "shared in flight " in shown


def test_explain_marks_the_place_without_colours(loaded: tuple[Live, list[str]]) -> None:
    live, ids = loaded
    out = run("explain", ids[1], "--url", live.url)
    (cached,) = [line for line in out.splitlines() if "12:30" in line.replace("▸", "")]
    (ours,) = [line for line in out.splitlines() if "12:31" in line.replace("▸", "")]
    assert cached.split("▸")[0] == ours.split("▸")[0]
    assert cached.startswith("  ")


def test_explain_last_before_the_first() -> None:
    with pytest.raises(ParameterError, match="answered no request yet"):
        newest([])


def test_explain_says_what_is_wrong(loaded: tuple[Live, list[str]]) -> None:
    live, _ = loaded
    with pytest.raises(NotFoundError, match="'nobody' is not known"):
        run("explain", "nobody", "--url", live.url)
    with pytest.raises(Unavailable, match=r"No Foreword server answers at http://127\.0\.0\.1:1"):
        run("explain", "--url", "http://127.0.0.1:1")
    for url in ("no address", "ftp://x"):
        with pytest.raises(InputError, match="is no address"):
            run("explain", "--url", url)


def test_top_shows_all_panels(loaded: tuple[Live, list[str]]) -> None:
    live, ids = loaded
    out = run("top", "--once", "--url", live.url)
    for words in ("3 requests", "volatile value", "first seen", "Prominent prefixes", "infinite cache", ids[-1][:20]):
        assert words in out


def test_top_follows_the_server_until_it_is_stopped(loaded: tuple[Live, list[str]]) -> None:
    live, _ = loaded
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 150, 0, 0))
    command = [sys.executable, "-c", INTERRUPTIBLE]
    arguments = ["top", "--interval", "0.2", "--url", live.url]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*command, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        wait_for(ours, b"3 requests")
        with live.client() as client:
            client.post("/v1/completions", json={"model": "tiny", "prompt": "One more", "max_tokens": 2})
        shown = wait_for(ours, b"4 requests")
        assert b"/s" in shown  # tokens a second, which take two looks
        process.send_signal(signal.SIGINT)
        shown = wait_for(ours, b"\x1b[?1049l")  # back to the screen before
        assert process.wait(60) == 0
        assert b"Traceback" not in shown
    finally:
        process.kill()
        os.close(ours)


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests in the background ignores it
from foreword.cli.main import run
run()
"""


def wait_for(terminal: int, words: bytes) -> bytes:
    """What a terminal shows up to some words."""
    shown, end = b"", time.monotonic() + 120
    while words not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, shown[-2000:]
        shown += os.read(terminal, 65536)
    return shown


def test_top_needs_an_operators_key(serve: Callable[..., Live]) -> None:
    tenants, keys = keyed("ann", "boss")
    live = serve(tenants=tenants, operators=("boss",))
    with pytest.raises(InputError, match="--operator ann"):
        run("top", "--once", "--url", live.url, "--api-key", keys["ann"])
    assert "Why hits ended" in run("top", "--once", "--url", live.url, "--api-key", keys["boss"])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian has it as the package 'chromium'")
def test_the_report_is_one_file_that_works_alone(loaded: tuple[Live, list[str]], tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    live, ids = loaded
    file = tmp_path / "report.html"
    made = run("report", str(file), "--url", live.url, "--priced-as", "claude-haiku-4-5")
    assert "3 requests, 3 explained" in made
    text = file.read_text(encoding="utf-8")
    assert " src=" not in text.split("<script")[0]
    asked, said = [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        page.get_by_text("Report of").wait_for()
        page.locator(f"[data-request='{ids[1]}']").click()
        page.get_by_role("heading", name="volatile value: time").wait_for()
        assert "claude-haiku-4-5" in page.locator("#savings").inner_text()
        assert not page.locator("#price").is_visible()
        assert page.evaluate("window.hacked") is None
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def test_a_report_that_cannot_be_written(loaded: tuple[Live, list[str]], tmp_path: Path) -> None:
    live, _ = loaded
    with pytest.raises(InputError, match="cannot be written"):
        run("report", str(tmp_path / "no" / "folder.html"), "--url", live.url)
