"""foreword serve, api-key and probe-isolation as commands."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.test_isolation import slow_prefill
from foreword import engine
from foreword.cli.config_flags import field_flags
from foreword.cli.main import app
from foreword.engine import EngineConfig
from foreword.errors import ConfigError
from foreword.server import build
from foreword.server.tenants import Tenants, load_tenants
from foreword.serving.config import ServerConfig
from server.live import Live


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ``serve`` makes: the server's options, its tenants, the engine's options."""
    found: list[Any] = []

    class Stopped:
        def run(self) -> None:
            pass

    def make_server(make_engine: Any, config: ServerConfig, tenants: Tenants, announce: Any) -> Stopped:
        assert announce is not None
        found.extend((config, tenants, make_engine()))
        return Stopped()

    monkeypatch.setattr(build, "make_server", make_server)
    monkeypatch.setattr(engine, "Engine", lambda config: config)
    return found


def test_without_options_all_is_as_the_configs_have_it(made: list[Any]) -> None:
    assert run("serve").exit_code == 0
    config, tenants, of_engine = made
    assert config == ServerConfig()
    assert of_engine == EngineConfig(max_num_seqs=64)
    assert not tenants.by_hash


def test_every_option_arrives(made: list[Any], tmp_path: Path) -> None:
    """Each with another value than its default."""
    keys = tmp_path / "keys.txt"
    keys.write_text(run("api-key", "alice").stdout)
    values: dict[str, Any] = {
        "host": "0.0.0.0",
        "share": "all",
        "api_keys_file": str(keys),
        "operators": "alice",
        "quantization": "int8",
        "kv_dtype": "bfloat16",
        "dtype": "auto",
        "attention": "reference",
        "block_size": 32,
        "eviction_policy": "protected-lru",
        "mark_budget": 0.25,
        "verify_cache": 0.0,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 17,
        "log_prompts": None,
        "self_test": None,
        "enable_prefix_caching": None,
    }
    args, expected = [], {}
    for config in (ServerConfig, EngineConfig):
        for number, flag in enumerate(field_flags(config), start=20):
            value = values.get(
                flag.name, float(number) if flag.type is float else number if "int" in str(flag.type) else "name"
            )
            form = flag.declarations[0].removeprefix(" /")
            args.append(form if value is None else f"{form}={value}")
            expected[flag.name] = flag.default is False if value is None else flag.to_field(value)
    expected["operators"] = ("alice",)
    result = run("serve", *args)
    assert result.exit_code == 0, result.output
    config, tenants, of_engine = made
    assert list(tenants.by_hash.values()) == ["anonymous", "alice"]
    assert dataclasses.asdict(config) | dataclasses.asdict(of_engine) == expected


def test_names_that_people_have_in_their_scripts_stay(made: list[Any]) -> None:
    assert (
        run("serve", "some/model", "--kv-cache-mb", "18", "--max-body-mb=5", "--operator", "a", "--operator", "b").exit_code
        == 0
    )
    config, _, of_engine = made
    assert (config.max_body_bytes, config.operators) == (5 * 2**20, ("a", "b"))
    assert (of_engine.kv_cache_memory_bytes, of_engine.model) == (18 * 2**20, "some/model")


def test_a_step_has_room_for_every_sequence(made: list[Any]) -> None:
    assert run("serve", "--max-num-seqs", "300").exit_code == 0
    assert made[2].max_num_batched_tokens == 300
    refused = run("serve", "--max-num-seqs", "300", "--max-num-batched-tokens", "256")
    assert isinstance(refused.exception, ConfigError)


def test_the_cache_can_be_switched_off(made: list[Any]) -> None:
    assert run("serve", "--no-prefix-caching").exit_code == 0
    assert made[2].enable_prefix_caching is False


def test_bad_options_are_refused(made: list[Any]) -> None:
    assert isinstance(run("serve", "--share", "none").exception, ConfigError)
    assert isinstance(run("serve", "--api-keys-file", "/no/such/file").exception, ConfigError)
    assert made == []


def test_a_key_is_told_once_and_only_its_hash_is_for_the_file(tmp_path: Path) -> None:
    result = run("api-key", "alice")
    (line,) = result.stdout.splitlines()
    key = result.stderr.split()[3]
    assert key.startswith("fw-")
    assert key not in result.stdout
    file = tmp_path / "keys.txt"
    file.write_text(line)
    assert load_tenants(str(file), {}).identify(key)[0] == "alice"
    assert run("api-key", "alice").stdout != result.stdout
    assert isinstance(run("api-key", "two words").exception, ConfigError)


@pytest.mark.parametrize(("share", "status", "says"), [("tenant", 0, "Nothing can be told"), ("all", 3, "can tell what")])
def test_the_probe_says_what_can_be_told(serve: Any, share: str, status: int, says: str) -> None:
    live: Live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"}), share=share)
    slow_prefill(live)
    keys = ("--victim-key", "a", "--attacker-key", "b")
    result = run("probe-isolation", live.url, *keys, "--samples", "15", "--characters", "400")
    assert result.exit_code == status, result.output
    assert says in result.output
    assert "asked before by the other tenant" in result.output
