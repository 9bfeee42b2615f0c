"""The pages of options and commands."""

import inspect
from typing import Any

from foreword.audit.config import AuditConfig
from foreword.cache.config import CacheConfig
from foreword.cli.command import COMMANDS, load_command
from foreword.cli.config_flags import FieldFlag, field_flags
from foreword.cli.engine_options import SAMPLING
from foreword.cli.reference.tables import paragraph, table
from foreword.cluster.config import ClusterConfig
from foreword.engine.config import EngineConfig
from foreword.observe import ObserverConfig
from foreword.replay.config import ReplayConfig
from foreword.sampling_params import SamplingParams
from foreword.serving.config import ServerConfig

HOW_TO = """\
<!-- Written by `make reference` from the fields of the config classes; a test compares it. Change the fields. -->
# Configuration

An option is a field of a frozen dataclass. In Python it is given by name, `LLM(model, max_num_seqs=16)`, on the command
line as `--max-num-seqs 16`, in the environment as `FOREWORD_MAX_NUM_SEQS=16`. An unknown name, a value out of range and an
impossible pair are refused. So is an option that flag and environment give different values; the same value twice is fine.
On and off are written `1` and `0`, `true` and `false`, `yes` and `no`; a list in a variable is separated by spaces.

In a Kubernetes namespace with a service named `foreword`, the cluster sets FOREWORD_PORT to an address: name the service
otherwise, or switch `enableServiceLinks` off.
"""
NONE: tuple[str, ...] = ()
CONFIGS: tuple[tuple[type, str, tuple[str, ...] | None], ...] = (
    (EngineConfig, "For `LLM`, `AsyncLLM`, and the commands that load a model.", None),
    (ServerConfig, "For `foreword serve`.", None),
    (ClusterConfig, "For `foreword cluster`, beside those of its engines and its server.", None),
    (AuditConfig, "For `foreword audit`.", None),
    (ReplayConfig, "For `foreword replay`.", None),
    (SamplingParams, "For `generate`, `chat` and `stream`; flags are those of `foreword generate` and `chat`.", SAMPLING),
    (CacheConfig, "For a `PrefixCache` of one's own. An engine counts its blocks itself and has the other options.", NONE),
    (ObserverConfig, "For an `Observer` of one's own.", NONE),
)
"""Configs, whose they are, and which of their fields are flags; None: all."""
HEAD = ("field", "default", "flag", "environment", "meaning")
COMMANDS_PAGE = """\
<!-- Written by `make reference` from the commands; a test compares it. Change the commands. -->
# Commands

`foreword COMMAND --help` (or `-h`) tells the same. Options of the engine, the server and an audit stand in
[configuration.md](configuration.md) with their meaning; here only which of them a command takes. `foreword completion bash
--install` teaches the shell to complete commands and options.
"""


def configuration_page() -> str:
    """docs/reference/configuration.md: every field of every config with flag, variable, default and meaning."""
    parts = [HOW_TO]
    for config, whose, with_flags in CONFIGS:
        parts.append(f"## {config.__name__}\n\n{paragraph(inspect.getdoc(config))}\n\n{whose}\n")
        groups: dict[str, list[tuple[str, ...]]] = {}
        flags = field_flags(config)
        for flag in sorted(flags, key=lambda each: each.group != flags[-1].group):  # those of the class itself first
            groups.setdefault(flag.group, []).append(_field_row(flag, with_flags is None or flag.name in with_flags))
        for group, rows in groups.items():
            parts.append(f"### {group}\n\n{table(HEAD, rows)}")
    return "\n".join(parts)


def commands_page() -> str:
    """docs/reference/cli.md: every command with its arguments and options."""
    parts = [COMMANDS_PAGE]
    for name in COMMANDS:
        command = load_command(name)
        parts.append(f"## foreword {name}\n\n{command.help}\n")
        own = [option for option in command.params if not getattr(option, "rich_help_panel", None)]
        rows = [_option_row(option) for option in own]
        if rows:
            parts.append(table(("argument or option", "default", "environment", "meaning"), rows))
        groups: dict[str, list[str]] = {}
        for option in command.params:
            if option not in own:
                groups.setdefault(option.rich_help_panel, []).append(_forms(option))
        for group, forms in groups.items():
            anchor = group.lower().replace(" ", "-").replace(",", "")
            parts.append(f"[{group}](configuration.md#{anchor}): {', '.join(forms)}.\n")
    return "\n".join(parts)


def _field_row(flag: FieldFlag, on_command_line: bool) -> tuple[str, ...]:
    forms = ", ".join(f"`{form.strip().removeprefix('/')}`" for form in flag.declarations)
    told = (forms, f"`{flag.environment}`") if on_command_line else ("", "")
    return f"`{flag.name}`", _default(flag.default), *told, flag.help


def _option_row(option: Any) -> tuple[str, ...]:
    default = "required" if option.required else _default(option.default)
    return _forms(option), default, f"`{option.envvar}`" if option.envvar else "", option.help or ""


def _forms(option: Any) -> str:
    if option.param_type_name == "argument":
        return f"`{option.metavar or option.name.upper()}`"
    return ", ".join(f"`{form}`" for form in (*option.opts, *option.secondary_opts))


def _default(value: Any) -> str:
    if value in (None, (), ""):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"
