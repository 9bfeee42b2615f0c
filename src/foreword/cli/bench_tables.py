"""The tables that foreword bench prints."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from foreword.bench import Phase, Result


def result_table(result: "Result") -> Table:
    """A workload's figures beside their bounds."""
    workload, sizes = result.workload, result.workload.sizes
    what = f"{sizes.requests} requests" if sizes.turns == 1 else f"{sizes.requests} × {sizes.turns} turns"
    title = (
        f"[bold]{workload.name}[/bold]: {workload.about}\n"
        f"{what}, {sizes.prefix:,} shared tokens + {sizes.own} of their own, {sizes.n_out} generated"
    )
    spoilt = "[red]" if result.spoilt else ""
    caption = (
        f"{result.prompt_tokens:,} prompt tokens = {result.cached_tokens:,} cached + {result.computed_tokens:,} computed; "
        + drafted_words(result)
        + f"{result.repetitions} repetitions; {spoilt}other programs used up to {result.other_cores:.2f} cores"
    )
    table = Table("", "median", "least – most", "bound", "of the bound", title=title, caption=caption, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in result.figures:
        share = figure.share_of_bound
        table.add_row(
            figure.name,
            f"{number(figure.median)} {figure.unit}",
            f"{number(figure.least)} – {number(figure.most)}",
            "" if figure.bound is None else number(figure.bound),
            "" if share is None else f"{share:.0%}",
        )
    return table


def drafted_words(result: "Result") -> str:
    """What drafts brought: answers took so many steps less; no bound counts with that."""
    if not result.drafted_tokens:
        return ""
    return (
        f"{result.accepted_tokens:,} of {result.generated_tokens:,} generated tokens were drafted rightly, "
        f"{result.drafted_tokens - result.accepted_tokens:,} in vain; "
    )


def profile_table(phases: "list[Phase]") -> Table:
    """Milliseconds and shares of a step's parts."""
    table = Table("", *(phase.name for phase in phases), title="Where a step's time goes", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, seconds: list[float], style: str = "") -> None:
        pairs = zip(seconds, phases, strict=True)
        cells = [f"{value * 1000:,.2f} ms {value / phase.total:>6.1%}" for value, phase in pairs]
        table.add_row(name, *cells, style=style)

    for part in phases[0].seconds:
        row(part, [phase.seconds[part] for phase in phases])
    table.add_section()
    row("neither model nor attention", [phase.added * phase.total for phase in phases], style="bold")
    row("all", [phase.total for phase in phases])
    return table


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
