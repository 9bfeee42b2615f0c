"""foreword probe-isolation: whether a cache hit can be told across tenants by timing."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from foreword.errors import ParameterError
from foreword.lazy import extra_needed

if TYPE_CHECKING:
    from foreword.bench.isolation import ProbeReport, Separation


def probe_isolation(
    url: Annotated[str, typer.Argument(help="The server, for instance http://127.0.0.1:8000.")],
    victim_key: Annotated[
        str, typer.Option(help="API key of one tenant.", envvar="FOREWORD_VICTIM_KEY", hide_input=True)
    ] = "",
    attacker_key: Annotated[
        str, typer.Option(help="API key of another tenant.", envvar="FOREWORD_ATTACKER_KEY", hide_input=True)
    ] = "",
    samples: Annotated[int, typer.Option(min=2, help="Prompts of each of three kinds.")] = 40,
    characters: Annotated[int, typer.Option(min=1, help="Length of a prompt.")] = 1000,
) -> None:
    """Measure whether one tenant can tell by timing what another one has asked. Exit status 3 if it can.

    Run it on a server of your own that has nothing else to do. AUC is the area under the ROC curve: 0.5 when nothing can be
    told, 1 when everything can. It needs the API keys of two tenants.

    Example:  FOREWORD_API_KEYS=alice:one,bob:two foreword serve
    and then  foreword probe-isolation http://127.0.0.1:8000 --victim-key one --attacker-key two
    """
    if not (victim_key and attacker_key):
        raise ParameterError(
            "The probe asks as two tenants, so it needs their API keys: --victim-key and --attacker-key (or "
            "FOREWORD_VICTIM_KEY and FOREWORD_ATTACKER_KEY). On a server without keys all are one tenant, and there is "
            "nothing to keep apart; start one with two:  FOREWORD_API_KEYS=alice:one,bob:two foreword serve"
        )
    with extra_needed("This command", "server"):
        from foreword.bench.isolation import probe_isolation as probe

    console = Console()
    with console.status("Asking ..."):
        report = probe(url, victim_key, attacker_key, samples, characters)
    console.print(_table(report))
    if report.told_apart:
        console.print("[red]One tenant can tell what another has asked.[/red]")
        raise typer.Exit(3)
    if report.within.auc < 0.9:
        console.print("Inconclusive: not even a tenant's own hits stand out. Use longer prompts or a quieter machine.")
    else:
        console.print("Nothing can be told across tenants, though a tenant's own hits stand out.")


def _table(report: "ProbeReport") -> Table:
    table = Table("prompts", "AUC", "median, asked before", "median, fresh", title=f"{report.samples} samples of each kind")
    table.add_row("asked before by the other tenant", *_row(report.across))
    table.add_row("asked before by the same tenant", *_row(report.within))
    return table


def _row(found: "Separation") -> tuple[str, str, str]:
    return f"{found.auc:.2f} ± {3 * found.error:.2f}", f"{found.first * 1000:.1f} ms", f"{found.second * 1000:.1f} ms"
