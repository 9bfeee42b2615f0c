"""foreword audit: where the prefixes of logged requests break, and what that costs."""

import bisect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from foreword import __version__
from foreword.audit import (
    NEXT_FILE,
    AuditConfig,
    ByteTokens,
    Finding,
    PieceTokens,
    Report,
    TemplateTokens,
    Tokenizing,
    audit,
    known_fingerprints,
)
from foreword.audit.readers import UNREADABLE, LogLineError, ServerFigures, parse_line
from foreword.audit.reports import finding_line, html_report, json_report, sarif_report
from foreword.cli.audit_input import STANDARD_INPUT, LogFile, log_files, log_lines, open_log
from foreword.cli.audit_text import print_finding, print_report, print_server_figures
from foreword.cli.audit_watch import growing_log, watch
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
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...",
            help="Logs, plain or packed (gzip, bzip2, xz, zstd), or directories of them; - for a pipe.",
        ),
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
    watching: Annotated[
        bool, typer.Option("--watch", help="Go on reading a log that grows, and tell each finding when it becomes true.")
    ] = False,
    *,
    config: Annotated[AuditConfig, Flags()],
) -> None:
    """Read a log of requests and say where their prefixes break, why, and what mending each fault would save.

    Logs of many kinds are read, told by their content: requests as they were sent, bare or wrapped, sessions of coding
    agents, batches, HAR, gateways' and observers' exports, the log of foreword serve (its prompts with --log-prompts, else
    its figures); `docs/how-to/audit.md` lists them. A request with `foreword_ignore: "FW101"` in its metadata is not told
    about that rule. The exit status is 0 without (new) findings, 1 with, 2 for bad input. With --watch a log that an agent
    writes is read beside it, until Ctrl-C or the end of standard input.
    """
    if output is not None:
        _check_writable(output)
    known = known_fingerprints(_read(baseline)) if baseline else frozenset()
    console = Console(stderr=True)
    if watching:
        _watch(logs, console, tokenizer, format, output, known, config)
    name = ", ".join("stdin" if log == STANDARD_INPUT else log.name for log in logs)
    with log_files(logs, console) as files, _reading(console, files, config.longest_line) as reading:
        report = audit(reading.lines, _tokenizing(tokenizer), PriceTable.built_in(), config, reading.again)
        report = reading.placed(report)
        figures = ServerFigures() if report.totals.requests else _server_figures(reading.lines("figures"))
    if figures.requests:
        print_server_figures(Console(), figures)
        raise typer.Exit(0)
    if not report.totals.requests:
        raise ParameterError(f"There is no request in {name}: {_why_empty(report)}")
    new = frozenset(finding.fingerprint for finding in report.findings) - known
    _write(report, new, format, name, output)
    raise typer.Exit(1 if new else 0)


def _watch(
    logs: list[Path],
    console: Console,
    tokenizer: Path | None,
    format: Format,
    output: Path | None,
    known: frozenset[str],
    config: AuditConfig,
) -> NoReturn:
    """Tell findings as they come, in words or as a line of JSON each, then leave with the audit's exit status."""
    if format not in (Format.TEXT, Format.JSON) or output is not None:
        raise ParameterError(
            "--watch tells findings as they come, as text or json and to the terminal; leave the others out."
        )
    tokenizing, prices, terminal = _tokenizing(tokenizer), PriceTable.built_in(), Console()

    def audited(files: list[LogFile]) -> Report:
        reading = _Reading(files, config.longest_line, Progress(disable=True))
        return reading.placed(audit(reading.lines, tokenizing, prices, config))

    def tell(finding: Finding) -> None:
        if format is Format.JSON:
            typer.echo(finding_line(finding))
        else:
            print_finding(terminal, finding, new=True)

    with growing_log(logs) as log:
        requests, told = watch(log, audited, tell, known)
    console.print(f"{requests:,} requests, {told:,} new finding{'s' if told != 1 else ''}")
    raise typer.Exit(1 if told else 0)


def _server_figures(lines: Iterator[bytes | str]) -> ServerFigures:
    """What a server's log without prompts tells."""

    def records() -> Iterator[Mapping[str, object]]:
        for line in lines:
            with suppress(LogLineError):
                yield parse_line(line)[0]

    return ServerFigures.of(records())


def _check_writable(output: Path) -> None:
    """Before the work is done, not after."""
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ParameterError(f"{output} cannot be written: name a file in a folder that exists and that you may write to.")


def _why_empty(report: Report) -> str:
    if not report.broken:
        kinds = ", ".join(report.kinds)
        return f"it is a {kinds} without a finished answer." if kinds else "it is empty."
    first = report.broken[0]
    if sum(records for _, records in report.kinds.values()) >= report.lines:  # all were read, and none is a request
        return f"{first.reason}."
    said = (
        f"{report.broken_lines} of {report.lines} lines could not be read, line {first.line}"
        f"{f' of {first.log}' if first.log else ''} because: {first.reason}."
    )
    return f"{said} A log is JSON, one object a line or a list of them." if "JSON" in first.reason else said


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
def _reading(console: Console, files: list[LogFile], longest: int) -> Iterator["_Reading"]:
    """What opens the log again and again, with a bar for each reading by the bytes of the files."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Reading(files, longest, progress)


class _Reading:
    """The files of a log as one row of lines."""

    def __init__(self, files: list[LogFile], longest: int, progress: Progress):
        self._files = files
        self._longest = longest
        self._progress = progress
        self._starts: list[int] = []
        self._task: tuple[str, TaskID] | None = None

    def lines(self, purpose: str) -> Iterator[bytes | str]:
        """All lines; between two files stands one that parts them, which is not counted."""
        sizes = [file.path.stat().st_size for file in self._files]
        task = self._progress.add_task(purpose, total=sum(sizes))
        self._starts = []
        number = done = 0
        for file, size in zip(self._files, sizes, strict=True):
            if self._starts:
                yield NEXT_FILE
            self._starts.append(number)
            try:
                with open_log(file.path) as raw:
                    for line in log_lines(raw, file.name, self._longest):
                        if number % LINES_BETWEEN_UPDATES == 0:
                            self._progress.update(task, completed=done + raw.tell())
                        number += 1
                        yield line
            except ParameterError as error:
                if len(self._files) == 1:
                    raise
                yield f"{UNREADABLE}{error}"  # the other files are read all the same
                number += 1
            done += size
        self._progress.remove_task(task)

    def again(self, purpose: str, done: int, requests: int) -> None:
        """A later reading has come so far; its bar goes by the bytes too."""
        if self._task is None or self._task[0] != purpose:
            if self._task is not None:
                self._progress.remove_task(self._task[1])
            size = sum(file.path.stat().st_size for file in self._files)
            self._task = purpose, self._progress.add_task(purpose, total=size)
        task = self._progress.tasks[-1]
        self._progress.update(task.id, completed=(task.total or 0) * done // max(1, requests))

    def placed(self, report: Report) -> Report:
        """The report with lines as they are in their files, where there are several."""
        if len(self._files) == 1:
            return report
        findings, broken = [], []
        for finding in report.findings:
            name, line = self._place(finding.line)
            findings.append(replace(finding, log=name, line=line))
        for skipped in report.broken:
            name, line = self._place(skipped.line)
            broken.append(replace(skipped, log=name, line=line))
        return replace(report, findings=tuple(findings), broken=tuple(broken))

    def _place(self, line: int) -> tuple[str, int]:
        index = max(0, bisect.bisect_left(self._starts, line) - 1)
        return self._files[index].name, line - self._starts[index]


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
