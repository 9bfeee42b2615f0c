"""Flags made from config fields, and the environment beside them."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from cli.test_cli import run_here
from foreword.cli.command import COMMANDS, Command, load_command, summary
from foreword.cli.config_flags import Flags, config_flags, field_flags
from foreword.config import option
from foreword.engine.config import EngineConfig
from foreword.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Options of a test."""

    port: int = option(8000, short="p")
    """Where it listens."""
    size: int | None = option(None, name="size-mb", unit=2**20)
    """Its memory; None: what is free."""
    room: int = option(2**30, name="room", size=True)
    """What it may take."""
    cache: bool = option(True, name="caching")
    """Whether it caches."""
    loud: bool = False
    """Whether it talks."""
    names: tuple[str, ...] = option((), name="name")
    """Who may."""
    token: str | None = option(None, secret=True)
    """What nobody may read."""


def made(*args: str, environment: dict[str, str] | None = None, flags: Flags | None = None) -> Settings:
    """What a command is given."""
    found: list[Settings] = []
    chosen = flags or Flags()

    @config_flags
    def command(settings: Annotated[Settings, chosen]) -> None:
        found.append(settings)

    app = typer.Typer()
    app.command(cls=Command)(command)
    result = CliRunner().invoke(app, list(args), env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return found[0]


def test_nothing_given_is_the_config_itself() -> None:
    assert made() == Settings()


@pytest.mark.parametrize(
    ("args", "environment", "field", "value"),
    [
        (("-p", "1"), {}, "port", 1),
        (("--port=1",), {}, "port", 1),
        ((), {"FOREWORD_PORT": "1"}, "port", 1),
        (("--size-mb", "2"), {}, "size", 2 * 2**20),
        ((), {"FOREWORD_SIZE_MB": "2"}, "size", 2 * 2**20),
        (("--room", "20GB"), {}, "room", 20 * 10**9),
        ((), {"FOREWORD_ROOM": "1.5 gib"}, "room", 3 * 2**29),
        (("--no-caching",), {}, "cache", False),
        ((), {"FOREWORD_CACHING": "0"}, "cache", False),
        ((), {"FOREWORD_CACHING": "true"}, "cache", True),
        (("--loud",), {}, "loud", True),
        ((), {"FOREWORD_LOUD": "yes"}, "loud", True),
        (("--name", "a", "--name", "b"), {}, "names", ("a", "b")),
        ((), {"FOREWORD_NAME": "a b"}, "names", ("a", "b")),
        (("--token", "x"), {}, "token", "x"),
    ],
)
def test_a_field_is_set_by_flag_and_by_environment(
    args: tuple[str, ...], environment: dict[str, str], field: str, value: Any
) -> None:
    assert getattr(made(*args, environment=environment), field) == value


@pytest.mark.parametrize(
    ("args", "environment", "message"),
    [
        (("--port=1",), {"FOREWORD_PORT": "2"}, r"--port and the environment variable FOREWORD_PORT .* \(1 and '2'\)"),
        (("--port=1",), {"FOREWORD_PORT": "tcp://10.0.0.1:8000"}, "FOREWORD_PORT"),
        (("--no-caching",), {"FOREWORD_CACHING": "1"}, "--no-caching and the environment variable FOREWORD_CACHING"),
        (("--name=a",), {"FOREWORD_NAME": "a b"}, "FOREWORD_NAME"),
        (("--token=x",), {"FOREWORD_TOKEN": "hush"}, "FOREWORD_TOKEN have different values: give"),
    ],
)
def test_two_different_values_are_refused_by_name(args: tuple[str, ...], environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        made(*args, environment=environment)
    assert "hush" not in str(refused.value)


def test_the_same_value_twice_is_fine() -> None:
    settings = made("--port=0001", "--no-caching", environment={"FOREWORD_PORT": "1", "FOREWORD_CACHING": "no"})
    assert (settings.port, settings.cache) == (1, False)


@pytest.mark.parametrize("size", ["20", "GB", "-1GB", "1e3GB", "1PB", ""])
def test_a_size_without_a_known_unit_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="a number with a unit"):
        made(f"--room={size}")


def test_a_command_has_defaults_of_its_own() -> None:
    flags = Flags(defaults={"port": 5}, complete=lambda given: {**given, "loud": given["port"] == 5})
    assert made(flags=flags) == Settings(port=5, loud=True)
    assert made("-p", "6", flags=flags) == Settings(port=6)


def test_a_flag_says_what_the_field_says() -> None:
    port, size, room, cache, *_ = field_flags(Settings)
    assert (port.declarations, port.default, port.help) == (("--port", "-p"), 8000, "Where it listens.")
    assert (size.environment, size.help) == ("FOREWORD_SIZE_MB", "Its memory; default: what is free. In MiB.")
    assert (room.default, room.help) == ("1GiB", "What it may take. With a unit: 20GB, 512MiB.")
    assert cache.declarations == (" /--no-caching",)
    assert [flag.name for flag in field_flags(Settings, Flags(only=("port",)))] == ["port"]
    assert [flag.name for flag in field_flags(Settings, Flags(without=("port", "size", "room", "cache", "loud")))] == [
        "names",
        "token",
    ]


@pytest.mark.parametrize("command", ["serve", "bench"])
def test_every_option_of_an_engine_is_a_flag(command: str) -> None:
    flags = {form for option in load_command(command).params for form in (*option.opts, *option.secondary_opts)}
    for flag in field_flags(EngineConfig):
        assert flag.declarations[0].removeprefix(" /") in flags


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_a_command_says(name: str) -> None:
    assert load_command(name).help.startswith(summary(name))
    assert summary(name)


def test_a_model_named_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run_here("chat", "a/model", "--model", "another")
    assert refused.returncode == 2
    assert "given twice: 'a/model' as an argument, 'another' by --model or FOREWORD_MODEL" in refused.stderr
    monkeypatch.setenv("FOREWORD_MODEL", "/no/such/model")
    assert "given twice" in run_here("serve", "other").stderr


def test_a_model_named_twice_alike_is_that_model(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("FOREWORD_MODEL", "/no/such/model")
    assert "'/no/such/model' is no directory" in run_here("chat", "/no/such/model").stderr
