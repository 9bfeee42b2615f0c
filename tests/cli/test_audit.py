"""``foreword audit`` as a person and a CI job run it."""

import bz2
import gzip
import json
import lzma
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from audit.generator import encoded, planted, whole_log
from cli.test_cli import COMMAND, run_here
from prompt.families import files


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    log = tmp_path / "faulty.jsonl"
    log.write_bytes(b"".join(encoded(planted("FW101").faulty)))
    return log


def audit(*args: object) -> subprocess.CompletedProcess[str]:
    result = run_here("audit", *map(str, args))
    assert "Traceback" not in result.stderr
    return result


def test_status_and_text(faulty: Path, tmp_path: Path) -> None:
    result = audit(faulty)
    assert result.returncode == 1, result.stderr
    assert "FW101 volatile-value · system, block 1" in result.stdout
    assert "Now: 2026-03-01T09:41:11" in result.stdout
    assert "1 finding\n" in result.stdout
    clean = tmp_path / "clean.jsonl"
    clean.write_bytes(b"".join(encoded(whole_log(faulty=False))))
    result = audit(clean)
    assert result.returncode == 0
    assert "No findings." in result.stdout


def test_of_answers_alone_no_line_is_called_unreadable(tmp_path: Path) -> None:
    output = tmp_path / "output.jsonl"
    answers = [{"custom_id": f"r{i}", "response": {"body": {"usage": {"prompt_tokens": 5}}}} for i in range(3)]
    output.write_text("\n".join(map(json.dumps, answers)))
    result = audit(output)
    assert result.returncode == 2
    said = " ".join(result.stderr.split())
    assert "There is no request in output.jsonl: this is a batch output" in said
    assert "could not be read" not in said
    output.write_text("\n".join([*map(json.dumps, answers), "{"]))
    assert "lines could not be read" in " ".join(audit(output).stderr.split())


def test_a_baseline_makes_known_findings_pass(faulty: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert audit(faulty, "--format", "json", "--output", baseline).returncode == 1
    result = audit(faulty, "--baseline", baseline)
    assert result.returncode == 0
    assert "1 of them known" in result.stdout
    more = tmp_path / "more.jsonl"
    more.write_bytes(b"".join(encoded(whole_log(faulty=True))))
    assert audit(more, "--baseline", baseline).returncode == 1


@pytest.mark.parametrize("form", ["json", "sarif", "html"])
def test_other_formats_go_to_the_terminal_or_a_file(faulty: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "report"
    shown = audit(faulty, "-f", form).stdout
    assert audit(faulty, "-f", form, "-o", output).returncode == 1
    assert output.read_text() == shown
    assert "FW101" in shown
    if form == "html":
        assert shown.startswith("<!doctype html>")
    else:
        json.loads(shown)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("log.jsonl.gz", gzip.compress),
        ("log.jsonl.bz2", bz2.compress),
        ("log.jsonl.xz", lzma.compress),
        ("log.jsonl.zst", lambda data: zstandard.compress(data[:999]) + zstandard.compress(data[999:])),
        ("no.suffix", gzip.compress),
        *(
            ("log.jsonl", lambda data, encoding=encoding: data.decode().encode(encoding))
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
        ),
        ("log.jsonl.gz", lambda data: gzip.compress(data.decode().encode("utf-16"))),
        ("log.jsonl", lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")),
        ("log.jsonl", lambda data: bytes(9000) + data),
    ],
)
def test_packed_and_encoded_logs(faulty: Path, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    log = tmp_path / "packed" / name
    log.parent.mkdir()
    log.write_bytes(pack(faulty.read_bytes()))
    result = audit(log)
    assert result.returncode == 1
    assert "20 requests" in result.stdout
    assert "FW101" in result.stdout


def test_a_log_from_a_pipe(faulty: Path, tmp_path: Path) -> None:
    """Copied to a temporary file, which is gone afterwards."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for command, data in (
        (["-"], faulty.read_bytes()),
        (["-", "-f", "sarif"], gzip.compress(faulty.read_bytes())),
        (["/dev/stdin"], faulty.read_bytes()),
    ):
        result = subprocess.run(
            [*COMMAND, "audit", *command],
            input=data,
            capture_output=True,
            check=False,
            timeout=240,
            env={**os.environ, "TMPDIR": str(spool), "COLUMNS": "160"},
        )
        assert result.returncode == 1, result.stderr
        assert b"FW101" in result.stdout
        assert list(spool.iterdir()) == []


def test_a_pipe_that_does_not_fit_says_where_to(faulty: Path) -> None:
    result = subprocess.run(
        [*COMMAND, "audit", "-"],
        input=faulty.read_bytes(),
        capture_output=True,
        check=False,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert result.returncode == 2
    assert "set TMPDIR" in " ".join(result.stderr.decode().split())


def test_without_zstandard_the_way_out_is_told(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty.write_bytes(zstandard.compress(faulty.read_bytes()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    result = audit(faulty)
    assert result.returncode == 2
    assert "pip install zstandard" in " ".join(result.stderr.split())


def test_broken_lines_are_counted_and_the_rest_is_audited(faulty: Path) -> None:
    lines = faulty.read_bytes().splitlines()
    latin = '{"messages": [{"role": "user", "content": "naïve"}]}'.encode("latin-1")
    faulty.write_bytes(b"\n".join([b"{", *lines[:10], b"", b"\xff\x00\x01", latin, *lines[10:], lines[0][:500]]))
    result = audit(faulty)
    assert result.returncode == 1
    assert "Line 1 skipped: not JSON" in result.stdout
    assert "3 of 25 lines held no request" in result.stdout
    assert "1 lines are not UTF-8" in result.stdout
    assert "FW101" in result.stdout


def test_lists_directories_and_carriage_returns(faulty: Path, tmp_path: Path) -> None:
    """The same log as a list, with other ends of lines, and twice in a directory, whose files have lines of their own."""
    alone = audit(faulty).stdout
    listed = tmp_path / "listed.json"
    records = [json.loads(line) for line in faulty.read_text().splitlines()]
    for text in (json.dumps(records), json.dumps(records, indent=1), faulty.read_text().replace("\n", "\r")):
        listed.write_text(text)
        result = audit(listed)
        assert result.returncode == 1
        assert [line for line in result.stdout.splitlines() if "perfect" in line] == [
            line for line in alone.splitlines() if "perfect" in line
        ]
    logs = tmp_path / "logs" / "deep"
    logs.mkdir(parents=True)
    (logs / "a.jsonl").write_text('{"model": "gpt-5", "messages": [{"role": "user", "content": "Hello"}]}\n')
    (logs / "b.jsonl").write_bytes(faulty.read_bytes())
    text = " ".join(audit(logs.parent).stdout.split())
    assert "first in line 2 of deep/b.jsonl" in text
    assert "first in line 2 of b.jsonl" in " ".join(audit(logs / "a.jsonl", logs / "b.jsonl").stdout.split())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_too_long_is_cut_and_counted_once(faulty: Path, encoding: str) -> None:
    lines = faulty.read_text().splitlines()
    limit = 2 * max(map(len, lines))
    long = json.dumps({"messages": [{"role": "user", "content": "a" * 3 * limit}]})
    faulty.write_bytes("\n".join([*lines[:10], long, *lines[10:]]).encode(encoding))
    result = audit(faulty, "--longest-line", limit)
    assert f"Line 11 skipped: a line of more than {limit:,} bytes" in result.stdout
    assert "--longest-line" in result.stdout
    assert "1 of 21 lines" in result.stdout


def test_counting_with_a_models_tokenizer(faulty: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name, text in files("chatml").items():
        (model / name).write_text(text)
    result = audit(faulty, "--tokenizer", model)
    assert result.returncode == 1
    assert "the given tokenizer and chat template" in result.stdout
    (model / "chat_template.jinja").unlink()
    for given in (model, model / "tokenizer.json"):
        result = audit(faulty, "--tokenizer", given)
        assert result.returncode == 1
        assert "without a chat template" in result.stdout


def test_rules_are_chosen(faulty: Path) -> None:
    assert audit(faulty, "--ignore", "FW101", "--ignore", "FW104").returncode == 0
    assert audit(faulty, "--select", "FW2").returncode == 0


def test_a_damaged_file_among_others_does_not_end_the_audit(faulty: Path, tmp_path: Path) -> None:
    """A cut archive, a picture, a zip, a database and a file that may not be read: each is named once, the rest is read."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.jsonl.gz").write_bytes(gzip.compress(faulty.read_bytes())[:-2_000])
    (logs / "b.zst").write_bytes(zstandard.compress(faulty.read_bytes())[:-2_000])
    (logs / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200))
    (logs / "d.eval").write_bytes(b"PK\x03\x04" + bytes(200))
    (logs / "e.db").write_bytes(b"SQLite format 3\0" + bytes(200))
    (logs / "f.jsonl").write_bytes(faulty.read_bytes())
    result = audit(logs, "-f", "json")
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert report["totals"]["requests"] >= 20
    assert [Path(broken["log"]).name for broken in report["broken"]] == ["a.jsonl.gz", "b.zst", "c.png", "d.eval", "e.db"]
    said = [broken["reason"] for broken in report["broken"]]
    assert "cannot be read to its end" in said[0]
    assert "cannot be read to its end" in said[1]
    assert ("no text" in said[2], "zip" in said[3], "SQLite" in said[4]) == (True, True, True)
    assert {finding["log"] for finding in report["findings"]} <= {"a.jsonl.gz", "b.zst", "f.jsonl"}


def test_two_logs_in_one_file_without_an_end_of_line_between(faulty: Path) -> None:
    records = faulty.read_text().splitlines()
    faulty.write_text("\n".join(records[:10]) + "\n".join(records[10:]))
    alone = json.loads(audit(faulty, "-f", "json").stdout)
    assert (alone["totals"]["requests"], alone["broken_lines"]) == (20, 0)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_is_watched_through_a_pipe_to_its_end(faulty: Path, form: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "audit", "--watch", "-", "-f", form],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for line in faulty.read_bytes().splitlines(keepends=True):
            running.stdin.write(line)
        running.stdin.flush()
        first = running.stdout.readline().decode()  # told while the pipe is open
        assert "FW101" in first
        if form == "json":
            assert json.loads(first)["place"] == "system, block 1"
        _, errors = running.communicate(timeout=240)
    assert running.returncode == 1
    assert "20 requests, 1 new finding" in errors.decode()


def test_a_file_that_grows_is_watched_until_it_is_interrupted(faulty: Path, tmp_path: Path) -> None:
    lines = faulty.read_bytes().splitlines(keepends=True)
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines[0])
    with subprocess.Popen(
        [*COMMAND, "audit", "--watch", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    ) as running:
        assert running.stdout is not None
        (folder / "b.jsonl").write_bytes(b"".join(lines[1:]) + lines[0][:100])
        assert "FW101" in running.stdout.readline().decode()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=240)
    assert running.returncode == 1


def test_a_watch_of_what_is_not_there_is_refused(faulty: Path, tmp_path: Path) -> None:
    for args, message in (
        ([tmp_path / "missing"], "cannot be watched"),
        (["-", faulty], "not both"),
        ([faulty, "-f", "html"], "as text or json"),
    ):
        result = audit("--watch", *args)
        assert result.returncode == 2
        assert message in " ".join(result.stderr.split())


def test_bad_use_is_status_2(faulty: Path, tmp_path: Path) -> None:
    names = "empty.jsonl", "nothing.jsonl", "damaged.jsonl.gz"
    empty, nothing, damaged = (tmp_path / name for name in names)
    spoilt = {name: tmp_path / name for name in ("gz", "bz2", "xz", "zst")}
    packed: tuple[Callable[[bytes], bytes], ...] = gzip.compress, bz2.compress, lzma.compress, zstandard.compress
    for path, pack in zip(spoilt.values(), packed, strict=True):
        data = bytearray(pack(faulty.read_bytes()))
        data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
        path.write_bytes(data)
    empty.write_bytes(b"")
    nothing.write_bytes(b'{"a": 1}\n')
    (tmp_path / "hollow").mkdir()
    damaged.write_bytes(gzip.compress(faulty.read_bytes())[:-2_000])
    cases: list[tuple[list[Any], str]] = [
        *(([path], "cannot be read to its end") for path in spoilt.values()),
        ([tmp_path / "missing.jsonl"], "is not a file"),
        ([tmp_path / "hollow"], "There is no file in"),
        ([empty], "no request in empty.jsonl: it is empty."),
        ([nothing], "keys are a"),
        ([damaged], "cannot be read to its end"),
        ([faulty, "--select", "FW9"], "There is no rule"),
        ([faulty, "--min-tokens", "0"], "min_tokens is 0"),
        ([faulty, "--baseline", nothing], "--format json"),
        ([faulty, "--baseline", tmp_path / "missing"], "cannot be read"),
        ([faulty, "--tokenizer", tmp_path], "tokenizer.json"),
        ([faulty, "--tokenizer", nothing], "tokenizer"),
        ([faulty, "--format", "xml"], "xml"),
        ([nothing, "-f", "json", "-o", tmp_path / "no" / "where"], "cannot be written"),  # before the log is read
        ([nothing, "-o", tmp_path], "cannot be written"),
    ]
    for args, message in cases:
        result = audit(*args)
        assert result.returncode == 2, (args, result.stderr)
        assert message in " ".join(result.stderr.split()), (args, result.stderr)
