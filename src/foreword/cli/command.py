"""Commands that are imported when they are run, and what all of them have in common."""

import ast
import importlib
from collections.abc import Callable
from importlib import resources
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from foreword.errors import ConfigError

COMMANDS = {
    "demo": "demo:demo",
    "generate": "generate:generate",
    "chat": "chat:chat",
    "bench": "bench:bench",
    "serve": "serve:serve",
    "cluster": "cluster:cluster",
    "api-key": "api_key:api_key",
    "probe-isolation": "probe_isolation:probe_isolation",
    "prices": "prices:prices",
    "audit": "audit:audit_log",
    "store": "store:store",
    "explain": "explain:explain_request",
    "top": "top:top",
    "report": "report:report",
    "replay": "replay:replay",
    "audit-template": "audit_template:audit_template_command",
    "completion": "completion:completion",
}
"""Module and function of each command, in the order of the help."""

MARKUP: Literal["markdown"] = "markdown"


class Command(TyperCommand):
    """A command that refuses an option given twice, by flag and by environment, with different values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, then compare flags with the environment."""
        rest = super().parse_args(ctx, args)
        for option in self.params:
            source = ctx.get_parameter_source(option.name)
            if option.envvar and source is not None and source.name == "COMMANDLINE":
                _check_environment(ctx, option)
        return rest


class LazyCommands(TyperGroup):
    """The commands by name. Help reads their docstrings from their files; only the one that is run is imported."""

    def __init__(self, **attributes: Any):
        super().__init__(**{**attributes, "commands": {name: Command(name=name) for name in COMMANDS}})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command as help and completion list it, without options; None for a name nobody knows."""
        del ctx
        return Command(name=cmd_name, help=summary(cmd_name)) if cmd_name in COMMANDS else None

    def get_help_option(self, ctx: Any) -> Any:
        """Its own --help, False where it is not given: to make a flag of nothing typer would import pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is run, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(name or ""), rest


def load_command(name: str) -> Any:
    """A command with its options, for the name it has in COMMANDS."""
    module, _, function = COMMANDS[name].partition(":")
    run: Callable[..., None] = getattr(importlib.import_module(f"foreword.cli.{module}"), function)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=MARKUP)
    single.command(name, cls=Command)(run)
    return typer.main.get_command(single)


def summary(name: str) -> str:
    """The first paragraph of a command's docstring, read from its file."""
    module, _, function = COMMANDS[name].partition(":")
    tree = ast.parse((resources.files("foreword.cli") / f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(found) or "").split("\n\n")[0]


def _check_environment(ctx: Any, option: Any) -> None:
    told = option.value_from_envvar(ctx)
    if told is None:
        return
    given = ctx.params[option.name]
    try:
        same = option.process_value(ctx, told) == given
    except typer.BadParameter:
        same = False
    if not same:
        flag = (option.opts or option.secondary_opts)[0]
        values = "" if option.hide_input else f" ({given!r} and {told!r})"
        raise ConfigError(
            f"{flag} and the environment variable {option.envvar} have different values{values}: "
            f"give one of them, or the same value twice."
        )
