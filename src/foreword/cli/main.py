"""foreword demo | generate | chat | bench | prices | audit | audit-template | serve | api-key | probe-isolation |
explain | top | report."""

import sys

import typer
from rich.console import Console

from foreword import __version__
from foreword.cli.api_key import api_key
from foreword.cli.audit import audit_log
from foreword.cli.audit_template import audit_template_command
from foreword.cli.bench import bench
from foreword.cli.chat import chat
from foreword.cli.demo import demo
from foreword.cli.explain import explain_request
from foreword.cli.generate import generate
from foreword.cli.prices import prices
from foreword.cli.probe_isolation import probe_isolation
from foreword.cli.report import report
from foreword.cli.serve import serve
from foreword.cli.top import top
from foreword.errors import ForewordError, InputError

app = typer.Typer(
    name="foreword",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Every prompt's foreword, computed once: an LLM engine whose centre is its prefix cache.\n\n"
        "Start with **foreword demo**: the model in the package reads a table and answers questions about it, with the "
        "cache off and on.\n\n"
        "Every command takes a model directory in Hugging Face layout (or a hub name); without one the small table reader "
        "in the package is used."
    ),
)
app.command()(demo)
app.command()(generate)
app.command()(chat)
app.command()(bench)
app.command()(serve)
app.command()(api_key)
app.command()(probe_isolation)
app.command()(prices)
app.command("audit")(audit_log)
app.command("explain")(explain_request)
app.command()(top)
app.command()(report)
app.command("audit-template")(audit_template_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    del version  # printed by its callback


def run() -> None:
    """Entry point: errors that Foreword raises on purpose become one line and an exit status, 2 for bad input."""
    console = Console(stderr=True)
    try:
        app()
    except InputError as error:
        console.print(f"[red]Error:[/red] {error}", highlight=False)
        sys.exit(2)
    except (ForewordError, ImportError) as error:
        console.print(f"[red]Error:[/red] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("Stopped.")
        sys.exit(130)
