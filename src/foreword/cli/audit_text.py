"""An audit's report in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foreword.audit import Finding, Report
from foreword.audit.readers import ServerFigures
from foreword.audit.reports import notes


def print_report(console: Console, report: Report, new: frozenset[str]) -> None:
    """``new`` are the fingerprints that no baseline knows."""
    _print_totals(console, report)
    for finding in report.findings:
        print_finding(console, finding, finding.fingerprint in new)
    known = len(report.findings) - len(new)
    count = len(report.findings)
    verdict = "[green]No findings.[/green]" if not count else f"{count} finding{'s' if count > 1 else ''}"
    console.print(verdict + (f", {known} of them known from the baseline." if known else ""))
    for note in notes(report):
        console.print(f"[dim]{escape(_one_line(note))}[/dim]", highlight=False)


def _print_totals(console: Console, report: Report) -> None:
    totals = report.totals
    table = Table("prompt tokens read from a cache", box=None, pad_edge=False)
    for name in ("tokens", "share", "US dollars"):
        table.add_column(name, justify="right")
    rows: list[tuple[str, int, int, float | None]] = [
        ("as the provider's rules allow, replayed", totals.cached, totals.prompt, totals.dollars),
        ("the same with all fixes, replayed", totals.repaired, totals.repaired_prompt, totals.repaired_dollars),
        ("by a perfect cache", totals.seen, totals.prompt, None),
        ("by a perfect cache, with all fixes", totals.repaired_seen, totals.repaired_prompt, None),
    ]
    if totals.reported:
        name = f"as the provider reported ({totals.reported:,} requests)"
        rows.insert(0, (name, totals.reported_cached, totals.reported_prompt, None))
    for name, part, whole, dollars in rows:
        share = f"{100 * part / whole:.1f} %" if whole else ""
        table.add_row(name, f"{part:,}", share, "" if dollars is None else f"{dollars:,.4f}")
    console.print(f"{totals.requests:,} requests, {totals.prompt:,} prompt tokens ({report.tokens})", highlight=False)
    console.print(table)
    console.print()


def print_server_figures(console: Console, figures: ServerFigures) -> None:
    """What a server's log without prompts tells, and what it lacks."""
    table = Table("prompt tokens", box=None, pad_edge=False)
    for name in ("tokens", "share"):
        table.add_column(name, justify="right")
    for source, count in figures.sources.items():
        if not count:
            continue
        share = f"{100 * count / figures.prompt_tokens:.1f} %" if figures.prompt_tokens else ""
        table.add_row(source.replace("_", " "), f"{count:,}", share)
    console.print(f"{figures.requests:,} requests, {figures.prompt_tokens:,} prompt tokens", highlight=False)
    console.print(table)
    ends = ", ".join(f"{_one_line(reason)} {count:,}" for reason, count in figures.reasons.most_common())
    console.print(f"Hits ended: {escape(ends)}", highlight=False)
    console.print(
        "These are figures only: the lines have no prompts, so where prompts part and why cannot be told. Serve with "
        "--log-prompts (FOREWORD_LOG_PROMPTS=1) and audit that log; it then holds what people wrote.",
        highlight=False,
    )


def print_finding(console: Console, finding: Finding, new: bool) -> None:
    """One finding; ``new``: no baseline knows it."""
    money = "" if finding.dollars_lost is None else f", ${finding.dollars_lost:,.4f}"
    state = "" if new else " [dim](known)[/dim]"
    console.print(
        f"[bold]{finding.code} {finding.name}[/bold] · {escape(_one_line(finding.place))}{state}: "
        f"[red]{finding.tokens_lost:,} tokens{money} lost[/red]",
        highlight=False,
    )
    lines = [
        Text(finding.summary),
        Text(
            f"Affects {finding.requests:,} request{'s' if finding.requests != 1 else ''}, first in line {finding.line:,}"
            f"{f' of {finding.log}' if finding.log else ''}: {_one_line(finding.label)}, token "
            f"{finding.position:,}; model {_one_line(finding.model) or 'without a name'}."
        ),
    ]
    if finding.old_text is not None:
        lines.append(Text("before  ", "dim") + Text(_one_line(finding.old_text)))
    lines.append(Text("now     ", "dim") + Text(_one_line(finding.new_text)))
    lines.append(Text(f"Fix: {finding.advice}"))
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)))
    console.print()


def _one_line(text: str) -> str:
    """Control characters made visible, so that a prompt cannot steer the terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
