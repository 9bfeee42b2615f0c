"""Flags made from config fields: a command asks for a config, and gets one made from flags, environment and defaults.

    @config_flags
    def serve(server: Annotated[ServerConfig, Flags()]) -> None: ...

Each field is a flag with the field's type, default and line of documentation, and an environment variable FOREWORD_FLAG.
"""

import ast
import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from foreword.config import Flag, build_config, size_in_bytes, size_in_words

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Flags:
    """Which fields of a config are flags of a command, and how it fills them in.

    only, without
        Names of fields; ``only`` empty: all but those of ``without``.
    defaults
        Defaults of this command that are not the config's.
    complete
        Called with what was given, by field, to add what follows from it.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[dict[str, Any]], dict[str, Any]] = dict

    def has(self, name: str) -> bool:
        """Whether the field is a flag."""
        return name in self.only if self.only else name not in self.without


@dataclass(frozen=True)
class FieldFlag:
    """One config field as a flag: its names, type and default in the flag's unit, and its line of documentation."""

    name: str
    flag: str
    short: str | None
    type: Any
    default: Any
    help: str
    unit: int
    size: bool
    both: bool
    secret: bool
    group: str

    @property
    def environment(self) -> str:
        """The variable that sets it: FOREWORD_MAX_NUM_SEQS."""
        return "FOREWORD_" + self.flag.replace("-", "_").upper()

    @property
    def declarations(self) -> tuple[str, ...]:
        """All its forms, as they are typed. What is on unless switched off has only the form that does so."""
        name = f"--{self.flag}" if self.default is not True or self.both else " "
        name += f"/--no-{self.flag}" if self.default is True else ""
        return (name, f"-{self.short}") if self.short else (name,)

    def to_field(self, given: Any) -> Any:
        """The field's value for the flag's."""
        if given is None:
            return None
        if isinstance(given, list):
            return tuple(given)
        if self.size:
            return size_in_bytes(given)
        return given * self.unit if self.unit != 1 else given


def field_flags(config: type, flags: Flags | None = None) -> list[FieldFlag]:
    """The flags of a config dataclass, in the order of its fields; ``flags`` chooses some and their defaults."""
    chosen = flags or Flags()
    documentation, types = field_documentation(config), get_type_hints(config)
    found = []
    for each in dataclasses.fields(config):
        if not chosen.has(each.name):
            continue
        form, (group, text) = Flag.of(each), documentation[each.name]
        default = chosen.defaults.get(each.name, each.default)
        if form.unit == MEBIBYTE:
            text += " In MiB."
        elif form.size:
            text += " With a unit: 20GB, 512MiB."
        found.append(
            FieldFlag(
                name=each.name,
                flag=form.name or each.name.replace("_", "-"),
                short=form.short,
                type=str | None if form.size else _flag_type(types[each.name]),
                default=_default(default, form),
                help=text,
                unit=form.unit,
                size=form.size,
                both=form.both,
                secret=form.secret,
                group=group,
            )
        )
    return found


def field_documentation(config: type) -> dict[str, tuple[str, str]]:
    """The group and the line of documentation of every field: the text below it in the source, None as "default".

    The group is what the module of the class that has the field says of itself.
    """
    found = {}
    for kind in reversed(config.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        module = sys.modules[kind.__module__]
        assert module.__file__ is not None
        group = (module.__doc__ or "").split("\n")[0].split(":")[0].rstrip(".")
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
        for assignment, below in zip(body, [*body[1:], None], strict=True):
            if isinstance(assignment, ast.AnnAssign) and isinstance(assignment.target, ast.Name):
                found[assignment.target.id] = group, _text(below)
    return found


def config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters of the form ``Annotated[Config, Flags()]`` are made from flags, one for each field."""
    own = inspect.signature(command).parameters
    parameters: list[inspect.Parameter] = [inspect.Parameter("context", _KEYWORD, annotation=typer.Context)]
    made: dict[str, tuple[type, Flags, list[FieldFlag]]] = {}
    for name, parameter in own.items():
        config, flags = _asked_for(parameter.annotation)
        if flags is None:
            parameters.append(parameter.replace(kind=_KEYWORD))
            continue
        made[name] = config, flags, field_flags(config, flags)
        parameters += [_parameter(f"{name}_{flag.name}", flag) for flag in made[name][2]]

    @functools.wraps(command)
    def run(context: typer.Context, **values: Any) -> None:
        for name, (config, flags, generated) in made.items():
            given = dict(flags.defaults)
            for flag in generated:
                value = values.pop(f"{name}_{flag.name}")
                if _was_given(context, f"{name}_{flag.name}"):
                    given[flag.name] = flag.to_field(value)
            values[name] = build_config(config, flags.complete(given))
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _asked_for(annotation: Any) -> tuple[type, Flags | None]:
    if get_origin(annotation) is Annotated:
        config, *notes = get_args(annotation)
        for note in notes:
            if isinstance(note, Flags):
                return config, note
    return type(None), None


def _parameter(name: str, flag: FieldFlag) -> inspect.Parameter:
    option = typer.Option(
        *flag.declarations,
        help=flag.help,
        envvar=flag.environment,
        show_envvar=False,
        hide_input=flag.secret,
        rich_help_panel=flag.group,
    )
    default = list(flag.default) or None if isinstance(flag.default, tuple) else flag.default
    return inspect.Parameter(name, _KEYWORD, default=default, annotation=Annotated[flag.type, option])


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _flag_type(annotation: Any) -> Any:
    """The type of a flag: a tuple of names is an option that can be repeated."""
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]] | None  # type: ignore[misc]
    if get_origin(annotation) in (UnionType, Union):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] | None
    return annotation


def _default(default: Any, form: Flag) -> Any:
    """A field's default as it would be typed."""
    if default is None:
        return None
    if form.size:
        return size_in_words(default)
    return default // form.unit if form.unit != 1 else default


def _text(node: ast.stmt | None) -> str:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
        return ""
    text = " ".join(node.value.value.split()).replace("``", "`")
    return re.sub(r"\bNone: ", "default: ", text)
