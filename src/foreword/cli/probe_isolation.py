"""foreword probe-isolation: whether one tenant, or salt, can tell what another one has asked."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from foreword.lazy import extra_needed

if TYPE_CHECKING:
    from foreword.bench.isolation import ProbeReport, Separation
    from foreword.bench.telling import TellingReport


def probe_isolation(
    url: Annotated[str, typer.Argument(help="The server, for instance http://127.0.0.1:8000.")],
    victim_key: Annotated[
        str, typer.Option(help="API key of one tenant.", envvar="FOREWORD_VICTIM_KEY", hide_input=True)
    ] = "",
    attacker_key: Annotated[
        str, typer.Option(help="API key of another tenant.", envvar="FOREWORD_ATTACKER_KEY", hide_input=True)
    ] = "",
    victim_url: Annotated[
        str | None, typer.Option(help="Where the victim asks, if at another server over the same shared store.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Digits to guess, and prompts of each of three kinds.")] = 40,
    characters: Annotated[int, typer.Option(min=1, help="Length of a prompt.")] = 1000,
) -> None:
    """Attack a server: can one tenant tell what another one has asked, by what it is told or by time? Exit status 3 if so.

    Run it on a server of your own that has nothing else to do. The attacker guesses digits that the victim has asked with,
    by all that it can read. AUC is the area under the ROC curve of times: 0.5 when nothing can be told, 1 when everything
    can. Give the API keys of two tenants; with one key, or none, the two are salts under it.

    Example:  FOREWORD_API_KEYS=alice:one,bob:two foreword serve
    and then  foreword probe-isolation http://127.0.0.1:8000 --victim-key one --attacker-key two
    """
    with extra_needed("This command", "server"):
        from foreword.bench.isolation import probe_isolation as probe

    console = Console()
    with console.status("Asking ..."):
        report = probe(url, victim_key, attacker_key, samples, characters, victim_url=victim_url)
    told, between = report.telling, "salts under one key" if report.salts else "tenants"
    _print_told(console, told)
    console.print(_table(report))
    if report.told_apart:
        by = [channel.name for channel in told.telling] + (["time"] if report.told_by_time else [])
        said = f"Told apart: one of two {between} can tell what the other has asked, by {by[0]}."
        console.print(said, style="red", markup=False)
        raise typer.Exit(3)
    console.print(f"Nothing that is told depends on what the other of two {between} has asked.")
    if report.within.auc < 0.9:
        console.print("Inconclusive by time: not even a party's own hits stand out. Take longer prompts.")
    else:
        console.print("Nothing can be told by time, though a party's own hits stand out.")


def _print_told(console: Console, told: "TellingReport") -> None:
    low, high = told.interval
    console.print(
        f"{told.right} of {told.digits} digits guessed by all that is told ({told.right / told.digits:.1%}, 95 % interval "
        f"{low:.1%} to {high:.1%}; 10 % by chance), {told.requests} requests, {len(told.channels)} fields that gave a guess."
    )
    if told.operators_pages:
        console.print("The key is an operator's, or there are no keys: /v1/cache and /metrics tell all, and were left out.")
    for channel in told.telling:
        console.print(f"  tells: {channel.name} ({channel.right} of {channel.votes})", style="red", markup=False)


def _table(report: "ProbeReport") -> Table:
    table = Table("prompts", "AUC", "median, asked before", "median, fresh", title=f"{report.samples} samples of each kind")
    table.add_row("asked before by the other tenant", *_row(report.across))
    table.add_row("asked before by the same tenant", *_row(report.within))
    return table


def _row(found: "Separation") -> tuple[str, str, str]:
    return f"{found.auc:.2f} ± {3 * found.error:.2f}", f"{found.first * 1000:.1f} ms", f"{found.second * 1000:.1f} ms"
