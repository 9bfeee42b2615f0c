"""foreword audit-template: whether a model's chat template lets conversations reuse their prefixes."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from foreword.cli.model_files import read_any_template
from foreword.errors import ParameterError
from foreword.prompt.template_audit import Check, audit_template


def audit_template_command(
    templates: Annotated[
        list[Path],
        typer.Argument(help="Model directories with a chat template, GGUF files, or chat templates (.jinja) alone."),
    ],
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A variable that the template reads; the value is JSON, else a text."
        ),
    ] = None,
) -> None:
    """Check that each request of a conversation begins with the one before it, token for token.

    Conversations with and without tools, thinking, system changes and on another day are tried. Shown are the first place
    where the template writes the history otherwise, and the tokens that are computed again for it. Without a tokenizer.json
    tokens are estimated. Exit status 1 if there is such a place, or if a template took none of the conversations.

    Example:  foreword audit-template path/to/model chat_template.jinja --set enable_thinking=false
    """
    console = Console()
    given = dict(map(_variable, variables or ()))
    broken = unchecked = False
    for path in templates:
        template, estimated = read_any_template(path)
        checks = audit_template(template, **given)
        broken |= any(check.break_ for check in checks)
        _show(console, path, checks)
        if estimated:
            console.print("There is no tokenizer.json: tokens are estimated, four characters each or a special token.")
        if all(check.refused is not None for check in checks):
            unchecked = True
            lacking = sorted(template.variables - given.keys())
            reads = f"; it reads {', '.join(lacking)}: give what it needs with --set NAME=VALUE" if lacking else ""
            console.print(f"Nothing was checked: the template took none of the conversations{reads}.", markup=False)
    if broken or unchecked:
        raise typer.Exit(1)


def _variable(setting: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``."""
    name, equals, text = setting.partition("=")
    if not equals or not name.isidentifier():
        raise ParameterError(f"--set is {setting!r}; it must be NAME=VALUE, with a name that a template can read.")
    if name in ("messages", "tools", "add_generation_prompt"):
        raise ParameterError(f"--set gives {name!r}, which is tried out here; set a template's own variables.")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _show(console: Console, path: Path, checks: list[Check]) -> None:
    table = Table("conversation", "result", "computed again", "answers reused", title=str(path), title_justify="left")
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
