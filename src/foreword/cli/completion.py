"""foreword completion: complete commands and options in a shell."""

from enum import StrEnum
from typing import Annotated

import typer

NAME, VARIABLE = "foreword", "_FOREWORD_COMPLETE"


class Shell(StrEnum):
    """Shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.")],
    install: Annotated[bool, typer.Option("--install", help="Write the script where the shell looks for it.")] = False,
) -> None:
    """Print the script that completes commands and options in a shell, or install it.

    Example:  foreword completion bash --install
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]
    from typer.completion import install as install_script  # type: ignore[attr-defined]

    if install:
        _, path = install_script(shell=shell.value, prog_name=NAME, complete_var=VARIABLE)
        typer.echo(f"Written to {path}. A new terminal uses it.")
    else:
        typer.echo(get_completion_script(prog_name=NAME, complete_var=VARIABLE, shell=shell.value))
