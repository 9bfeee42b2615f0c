"""foreword audit: where the prefixes of logged requests break, and what that costs."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from foreword import __version__
from foreword.audit import (
    AuditConfig,
    ByteTokens,
    PieceTokens,
    Report,
    TemplateTokens,
    Tokenizing,
    audit,
    known_fingerprints,
)
from foreword.audit.reports import html_report, json_report, sarif_report
from foreword.cli.audit_input import STANDARD_INPUT, log_file, log_lines
from foreword.cli.audit_text import print_report
from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.model_files import read_template
from foreword.errors import ModelError, ParameterError
from foreword.prompt.prices import PriceTable
from foreword.prompt.tokenizer import HubTokenizer

LINES_BETWEEN_UPDATES = 200


class Format(StrEnum):
    """What a report is written as."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    HTML = "html"


@config_flags
def audit_log(
    log: Annotated[
        Path, typer.Argument(help="JSON lines, one request each, plain or packed (gzip, bzip2, xz, zstd); - for a pipe.")
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Model directory (or tokenizer.json) to count tokens with; without: four bytes a token."),
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write to; default: the terminal.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier report in JSON; its findings no longer count for the exit status.")
    ] = None,
    *,
    config: Annotated[AuditConfig, Flags()],
) -> None:
    """Read a log of requests and say where their prefixes break, why, and what mending each fault would save.

    Known are bodies of OpenAI chat and responses and of Anthropic messages, bare or wrapped (batch files, LiteLLM,
    Foreword's own log). A request with `foreword_ignore: "FW101"` in its metadata is not told about that rule. The exit
    status is 0 without (new) findings, 1 with, 2 for bad input.
    """
    if output is not None:
        _check_writable(output)
    known = known_fingerprints(_read(baseline)) if baseline else frozenset()
    console = Console(stderr=True)
    name = "stdin" if log == STANDARD_INPUT else log.name
    with log_file(log, console) as file, _reading(console, file, name, config.longest_line) as lines:
        report = audit(lines, _tokenizing(tokenizer), PriceTable.built_in(), config)
    if not report.totals.requests:
        raise ParameterError(f"There is no request in {name}: {_why_empty(report)}")
    new = frozenset(finding.fingerprint for finding in report.findings) - known
    _write(report, new, format, name, output)
    raise typer.Exit(1 if new else 0)


def _check_writable(output: Path) -> None:
    """Before the work is done, not after."""
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ParameterError(f"{output} cannot be written: name a file in a folder that exists and that you may write to.")


def _why_empty(report: Report) -> str:
    if not report.broken:
        return "it is empty."
    return (
        f"{report.broken_lines} of {report.lines} lines could not be read, line {report.broken[0].line} because: "
        f"{report.broken[0].reason}. Each line has to be one JSON object; `jq -c .` writes objects of several lines so, and "
        "`jq -c '.[]'` those of a list."
    )


def _write(report: Report, new: frozenset[str], format: Format, log: str, output: Path | None) -> None:
    if output is None:
        _print(report, new, format, log, None)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            _print(report, new, format, log, file)
    except OSError as error:
        raise ParameterError(f"{output} cannot be written: {error}") from error


def _print(report: Report, new: frozenset[str], format: Format, log: str, file: IO[str] | None) -> None:
    """To a file, or to the terminal."""
    if format is Format.TEXT:
        print_report(Console() if file is None else Console(file=file, width=120), report, new)
    elif format is Format.JSON:
        typer.echo(json_report(report, new), file, nl=False)
    elif format is Format.SARIF:
        typer.echo(sarif_report(report, new, log, __version__), file, nl=False)
    else:
        typer.echo(html_report(report, new, log), file, nl=False)


@contextmanager
def _reading(console: Console, log: Path, name: str, longest: int) -> Iterator[Callable[[str], Iterator[bytes | str]]]:
    """What opens the log again and again, with a bar for each reading by the bytes of the file."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def lines(purpose: str) -> Iterator[bytes | str]:
            task = progress.add_task(purpose, total=log.stat().st_size)
            with log.open("rb") as raw:
                for number, line in enumerate(log_lines(raw, name, longest)):
                    if number % LINES_BETWEEN_UPDATES == 0:
                        progress.update(task, completed=raw.tell())
                    yield line
            progress.remove_task(task)

        yield lines


def _tokenizing(path: Path | None) -> Tokenizing:
    if path is None:
        return ByteTokens()
    if not path.is_dir():
        return _piecewise(_read(path))
    try:
        return TemplateTokens(read_template(path))
    except ModelError:
        if not (path / "tokenizer.json").is_file():
            raise
        return _piecewise(_read(path / "tokenizer.json"))  # a tokenizer alone is enough


def _piecewise(text: str) -> PieceTokens:
    tokenizer = HubTokenizer.from_json(text)
    return PieceTokens(lambda piece: tokenizer.encode(piece).ids)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{os.fspath(path)} cannot be read: {error}") from error
