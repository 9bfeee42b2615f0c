"""foreword audit-template: whether a model's chat template lets conversations reuse their prefixes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from foreword.cli.model_files import read_template
from foreword.prompt.template_audit import Check, audit_template


def audit_template_command(
    directories: Annotated[list[Path], typer.Argument(help="Model directories with tokenizer.json and a chat template.")],
) -> None:
    """Check that each request of a conversation begins with the one before it, token for token.

    Conversations with and without tools, thinking, system changes and on another day are tried. Shown are the first place
    where the template writes the history otherwise, and the tokens that are computed again for it. Exit status 1 if there
    is such a place, or if a template took none of the conversations.

    Example:  foreword audit-template path/to/model
    """
    console = Console()
    broken = unchecked = False
    for directory in directories:
        checks = audit_template(read_template(directory))
        broken |= any(check.break_ for check in checks)
        _show(console, directory, checks)
        unchecked |= all(check.refused is not None for check in checks)
    if broken or unchecked:
        raise typer.Exit(1)


def _show(console: Console, directory: Path, checks: list[Check]) -> None:
    table = Table("conversation", "result", "computed again", "answers reused", title=str(directory), title_justify="left")
    for check in checks:
        table.add_row(check.scenario, *describe(check))
    console.print(table, markup=False)
    for check in checks:
        if check.break_ is not None:
            place = check.break_
            console.print(
                f"{check.scenario}: request {place.request}, token {place.position}, {place.label}",
                highlight=False,
                markup=False,
            )
            console.print(f"  before: {place.old!r}\n  now:    {place.new!r}", highlight=False, markup=False)


def describe(check: Check) -> tuple[str, str, str]:
    """Result, tokens computed again, and fate of the answers, as cells of a table."""
    if check.refused is not None:
        return f"refused: {check.refused}", "", ""
    answers = {True: "yes", False: "no", None: ""}[check.answers_kept]
    ignored = ", tools ignored" if check.tools_ignored else ""
    if check.break_ is None:
        return f"append-only{ignored}", "0", answers
    place = check.break_
    lost = f"{check.lost_tokens:,} of {check.reusable_tokens:,} tokens"
    return f"breaks at request {place.request}, token {place.position:,}: {place.label}{ignored}", lost, answers
