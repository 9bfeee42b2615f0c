"""foreword prices: the table of what hosted models charge for cached and uncached prompt tokens."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from foreword.errors import ParameterError
from foreword.prompt.prices import ModelPrice, PriceTable

WIDTH = 112


def prices(
    models: Annotated[list[str] | None, typer.Argument(help="Models, as requests name them; default: all.")] = None,
) -> None:
    """Show prices, minimum lengths and lifetimes of hosted prompt caches, with date and source of each row.

    Example:  foreword prices gpt-5.6 anthropic/claude-opus-4-8
    """
    known = PriceTable.built_in()
    rows = _find_all(known, models) if models else list(known)
    table = Table("model", "input", "output", "read", "write", "minimum", "kept for", "marks", "date")
    for column in table.columns[1:7]:
        column.justify = "right"
    for row in rows:
        written = f"{row.write:g}×" + (f" / {row.write_long:g}×" if row.write_long else "")
        kept = " / ".join(_duration(ttl) for ttl in (row.ttl, row.ttl_long) if ttl) or "not stated"
        table.add_row(
            row.name,
            f"{row.input:g}",
            f"{row.output:g}",
            f"{row.read:g}×",
            written,
            f"{row.minimum:,}",
            kept,
            row.marks,
            str(row.date),
        )
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are never cut; a narrow window wraps lines
    console.print(table)
    console.print(
        "Input and output in US dollars for a million tokens; read and write as multiples of input; minimum in tokens."
    )
    for row in rows:
        if row.long_from is not None:
            rates = f"{row.long_input:g}, its answer {row.long_output:g}"
            console.print(f"{row.name}: a prompt of more than {row.long_from:,} tokens costs {rates}.", highlight=False)
    for what, sources in (("prices", [row.source for row in rows]), ("minimum and lifetime", [row.rules for row in rows])):
        for source in dict.fromkeys(sources):
            console.print(f"Source of {what}: {source}", highlight=False)


def _find_all(known: PriceTable, models: list[str]) -> list[ModelPrice]:
    """The rows of models; an unknown one is told and passed over. ParameterError where none is known."""
    rows = []
    for model in models:
        row = known.find(model)
        if row is None:
            typer.echo(f"The model {model!r} is not in the price table, so nothing is priced.", err=True)
        else:
            rows.append(row)
    if not rows:
        raise ParameterError(
            f"None of {', '.join(map(repr, models))} is in the price table; `foreword prices` lists what is."
        )
    return rows


def _duration(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
