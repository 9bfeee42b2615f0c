"""foreword serve, api-key and probe-isolation as commands."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.test_isolation import slow_prefill
from foreword import engine
from foreword.cli.main import app
from foreword.cli.serve import serve as serve_command
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

    def make_server(make_engine: Any, config: ServerConfig, tenants: Tenants) -> Stopped:
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
    options = {
        "host": "0.0.0.0",
        "port": 8001,
        "served-model-name": "name",
        "api-keys-file": str(keys),
        "share": "all",
        "max-queue": 3,
        "max-requests-per-key": 4,
        "max-body-mb": 5,
        "max-prompt-tokens": 6,
        "min-cached-tokens": 7,
        "max-choices": 8,
        "request-timeout": 9.0,
        "body-timeout": 10.0,
        "send-timeout": 11.0,
        "drain-timeout": 12.0,
        "idle-check-seconds": 13.0,
        "remembered-answers": 14,
        "operator": "alice",
        "quantization": "int8",
        "kv-dtype": "bfloat16",
        "max-model-len": 15,
        "max-num-seqs": 16,
        "max-num-batched-tokens": 17,
        "attention": "reference",
        "block-size": 32,
        "kv-cache-mb": 18,
        "eviction-policy": "protected-lru",
        "mark-budget": 0.25,
        "verify-cache": 0.5,
        "seed": 19,
    }
    flags = {"--log-prompts": "log_prompts"}
    known = {name.replace("_", "-") for name in inspect.signature(serve_command).parameters}
    assert known == {"model", "no-prefix-caching", "log-prompts", *options}
    result = run("serve", "some/model", *flags, *(f"--{name}={value}" for name, value in options.items()))
    assert result.exit_code == 0, result.output
    config, tenants, of_engine = made
    assert list(tenants.by_hash.values()) == ["alice"]
    told = dataclasses.asdict(config) | dataclasses.asdict(of_engine)
    renamed = {
        "max_body_bytes": 5 * 2**20,
        "kv_cache_memory_bytes": 18 * 2**20,
        "operators": ("alice",),
        "log_prompts": True,
        "model": "some/model",
    }
    plain = {name.replace("-", "_"): value for name, value in options.items()}
    for name in ("max_body_mb", "kv_cache_mb", "operator"):
        del plain[name]
    assert {name: told[name] for name in plain | renamed} == plain | renamed
    untouched = {field.name for field in dataclasses.fields(ServerConfig)} - {*plain, *renamed}
    assert untouched == set(), "an option of the server that cannot be given"


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
