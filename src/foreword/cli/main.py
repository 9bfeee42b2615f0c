"""The foreword command: its sub-commands (see command.py), its version, and how errors end it."""

import os
import sys

import typer

from foreword import __version__
from foreword.cli.command import MARKUP, LazyCommands
from foreword.cli.completion import NAME, VARIABLE
from foreword.errors import ForewordError, InputError

app = typer.Typer(
    name=NAME,
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,  # two options of typer that take 30 ms to parse at each start; see completion.py
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Every prompt's foreword, computed once: an LLM engine whose centre is its prefix cache.\n\n"
        "Start with **foreword demo**: the model in the package reads a table and answers questions about it, with the "
        "cache off and on.\n\n"
        "Commands that run a model take a directory in Hugging Face layout, a GGUF file, a hub name or smollm2; without one "
        "the small table reader in the package is used. Options can be set by environment variables too: FOREWORD_PORT "
        "for --port."
    ),
)


def _print_version(context: typer.Context, wanted: bool) -> None:
    """With --verbose also the paths that kernels can take here; a start takes the first that computes rightly."""
    if not wanted:
        return
    typer.echo(__version__)
    if context.params.get("verbose"):
        from foreword.backends.cpu.kernels.target import targets

        for target in targets():
            typer.echo(f"{target.words}: {target.path}")
    raise typer.Exit


@app.callback()
def _main(
    verbose: bool = typer.Option(
        False, "--verbose", is_eager=True, help="With --version: also what kernels are compiled for, the best path first."
    ),
    version: bool = typer.Option(False, "--version", callback=_print_version, help="Print the version."),
) -> None:
    del verbose, version  # read by the callback


def run() -> None:
    """Run the command line: errors that Foreword raises on purpose become one line and an exit status, 2 for bad input."""
    if VARIABLE in os.environ:  # a shell asks what may come next
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        app(prog_name=NAME)
    except InputError as error:
        _say(str(error), "[red]Error:[/red] ")
        sys.exit(2)
    except (ForewordError, ImportError) as error:
        _say(str(error), "[red]Error:[/red] ")
        sys.exit(1)
    except KeyboardInterrupt:
        _say("Stopped.")
        sys.exit(130)


def _say(text: str, before: str = "") -> None:
    """Print to standard error; the text is no markup, as in foreword[engine]."""
    from rich.console import Console  # here, as most commands end without an error
    from rich.markup import escape

    Console(stderr=True).print(before + escape(text), highlight=False, soft_wrap=True)
