"""The log that foreword serve writes: read whole where it has the prompts, and by its figures where it has not."""

import contextlib
import io
import json
import logging
import re
from pathlib import Path

import pytest

import foreword
from cli.test_cli import run_here
from foreword.account import Account, Source
from foreword.audit.readers import LogLineError, ServerFigures, parse_line
from foreword.audit.readers.server_log import EVENTS, ServerLog, server_pieces
from foreword.audit.request import ReportedUsage
from foreword.serving.log import engine_told, make_log

SOURCES = Path(foreword.__file__).parent
TABLE = "".join(f"| P{i} | {i}000 |\n" for i in range(60))


def written(stamp: str, prompts: bool, requests: int = 8) -> str:
    """Lines as the server's own logger writes them; ``stamp``, with the number in it, is the head of the system message."""
    stream = io.StringIO()
    log = make_log(stream)
    with contextlib.redirect_stderr(stream), engine_told():
        logging.getLogger("foreword").info("Model %s: context %d tokens.", "table-reader", 2048)
    log.info("serving", url="http://127.0.0.1:8000", model="table-reader", share="none")
    for number in range(requests):
        text = (
            f"<|im_start|>system\n{stamp.format(number)}\n{TABLE}<|im_end|>\n<|im_start|>user\nWho is P{number}?<|im_end|>\n"
        )
        cached = 300 if number else 0
        fields = {**Account(prompt_tokens=400).in_tokens(), "cached": cached, "computed": 400 - cached}
        log.info(
            "request", request_id=f"r{number}", model="table-reader", tenant="acme", outcome="stop", **fields,
            miss_reason="diverged", output_tokens=4, seconds=0.25,
            **({"prompt": text + "<|im_start|>assistant\n"} if prompts else {}),
        )  # fmt: skip
    log.warning("failure", path="/v1/models", fault="Error: x")
    return stream.getvalue()


def test_a_line_with_its_prompt_is_a_request() -> None:
    record, _ = parse_line(written("Be brief.", prompts=True).splitlines()[3])
    (request,) = ServerLog().read(record, 3)
    assert [(piece.section, piece.role) for piece in request.pieces] == [
        ("system", ""), ("message", "user"), ("message", "assistant"),
    ]  # fmt: skip
    assert "".join(piece.text for piece in request.pieces) == record["prompt"]
    assert request.usage == ReportedUsage(400, 300)
    assert (request.scope, request.provider, request.first_token) == ("acme", "foreword", 0.0)
    assert request.time is not None
    assert request.model == "table-reader"


def test_a_line_without_its_prompt_says_how_to_get_it() -> None:
    record, _ = parse_line(written("Be brief.", prompts=False).splitlines()[2])
    with pytest.raises(LogLineError, match="--log-prompts"):
        list(ServerLog().read(record, 1))


@pytest.mark.parametrize(
    "text", ["no signs at all", "[INST] hello [/INST] yes [INST] more [/INST]", "\n<start_of_turn>user\nx"]
)
def test_pieces_are_the_whole_text(text: str) -> None:
    assert "".join(piece.text for piece in server_pieces(text)) == text


def test_what_the_server_says_beside_its_requests_is_known() -> None:
    """Every line that is written in its folders, but for those of requests."""
    said = re.compile(r"""log\.(?:info|warning|error)\(\s*"([^"]+)\"""")
    code = [path.read_text() for folder in ("server", "serving") for path in (SOURCES / folder).rglob("*.py")]
    events = {event for text in code for event in said.findall(text)}
    assert len(events) >= 12
    assert events - {"request"} <= EVENTS
    assert not ServerLog().recognises({"event": "user signed in", "level": "info", "timestamp": "2026-01-01T00:00:00Z"})


def test_tokens_of_every_source_are_counted() -> None:
    record, _ = parse_line(written("Be brief.", prompts=False).splitlines()[2])
    told = ServerFigures.of([{**record, **{source.value: 3 + place for place, source in enumerate(Source)}}])
    assert told.sources == {source.value: 3 + place for place, source in enumerate(Source)}


def test_figures() -> None:
    lines = written("Be brief.", prompts=False).splitlines()
    figures = ServerFigures.of(parse_line(line)[0] for line in lines)
    assert (figures.requests, figures.prompt_tokens) == (8, 3200)
    assert figures.sources["cached"] == 2100
    assert figures.reasons == {"diverged": 8}


def test_the_command_reads_it(tmp_path: Path) -> None:
    log = tmp_path / "serve.jsonl"
    log.write_text(written("Now: 2026-03-01T09:41:0{}", prompts=True))
    found = run_here("audit", str(log))
    assert found.returncode == 1, found.stderr
    assert "FW101 volatile-value" in found.stdout
    said = " ".join(found.stdout.split())
    assert "log of foreword serve, 8 requests, 3 records without a request" in said
    assert "skipped" not in said
    assert "No price is known for table-reader" in said
    log.write_text(written("Be brief.", prompts=True))
    clean = run_here("audit", str(log))
    assert clean.returncode == 0, clean.stdout
    assert "reports" not in clean.stdout
    log.write_text(written("Now: 2026-03-01T09:41:0{}", prompts=False))
    figures = run_here("audit", str(log))
    assert figures.returncode == 0, figures.stderr
    assert "8 requests, 3,200 prompt tokens" in figures.stdout
    assert "--log-prompts" in figures.stdout
    assert "No findings" not in figures.stdout


def test_no_findings_beside_what_a_minimum_hides(tmp_path: Path) -> None:
    log, system = tmp_path / "log.jsonl", {"role": "system", "content": "Be brief, and say what you know. " * 60}
    lines = [{"model": "gpt-5", "ts": 60 * n, "messages": [system, {"role": "user", "content": f"{n}?"}]} for n in range(9)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run_here("audit", str(log))
    assert result.returncode == 0, result.stderr
    assert "No findings." in result.stdout
    assert "below its minimum length" in " ".join(result.stdout.split())
    system["content"] *= 4  # the system message of all lines
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "minimum" not in run_here("audit", str(log)).stdout
