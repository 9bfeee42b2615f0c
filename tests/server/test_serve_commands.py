"""foreword serve, api-key and probe-isolation as commands."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from typer.testing import CliRunner, Result

from bench.test_isolation import slow_prefill
from cli.test_cli import COMMAND
from foreword.cli.command import Command
from foreword.cli.config_flags import field_flags
from foreword.cli.main import app
from foreword.cli.serve import serve_command
from foreword.engine import EngineConfig
from foreword.errors import ConfigError
from foreword.server.tenants import load_tenants
from foreword.serving.config import ServerConfig
from server.live import Live


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "200", "NO_COLOR": "1"})


def serve_options(*args: str) -> tuple[ServerConfig, EngineConfig]:
    """What ``foreword serve`` would start with."""
    found: list[tuple[ServerConfig, EngineConfig]] = []
    command = typer.Typer()
    command.command(cls=Command)(serve_command(lambda engine, server: found.append((server, engine))))
    result = CliRunner().invoke(command, list(args))
    if isinstance(result.exception, ConfigError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return found[0]


def test_without_options_all_is_as_the_configs_have_it() -> None:
    assert serve_options() == (ServerConfig(), EngineConfig())


def test_every_option_arrives(tmp_path: Path) -> None:
    """Each with another value than its default."""
    keys = tmp_path / "keys.txt"
    keys.write_text(run("api-key", "alice").stdout)
    values: dict[str, Any] = {
        "host": "0.0.0.0",
        "share": "all",
        "client_heads": "keep",
        "images": "describe",
        "store_size_bytes": "20GB",
        "store_daily_bytes": "50GB",
        "draft": "off",
        "kv_events": "tcp://127.0.0.1:5557",
        "kv_events_replay": "tcp://127.0.0.1:6557",
        "store": "",  # one without caching would be refused
        "shared_store": "",
        "api_keys_file": str(keys),
        "operators": "alice",
        "allowed_hosts": "my.name",
        "max_receiving_bytes": 1000,
        "quantization": "int8",
        "generation_config": "none",
        "tool_call_form": "hermes",
        "reasoning_form": "think",
        "kv_dtype": "bfloat16",
        "dtype": "auto",
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
    args: list[str] = []
    expected: dict[str, Any] = {}
    for config in (ServerConfig, EngineConfig):
        for number, flag in enumerate(field_flags(config), start=20):
            value = values.get(
                flag.name, float(number) if flag.type is float else number if "int" in str(flag.type) else "name"
            )
            form = flag.declarations[0].removeprefix(" /")
            args.append(form if value is None else f"{form}={value}")
            given = [value] if "list" in str(flag.type) else value
            expected[flag.name] = flag.default is False if value is None else flag.to_field(given)
    of_server, of_engine = serve_options(*args)
    assert dataclasses.asdict(of_server) | dataclasses.asdict(of_engine) == expected


def test_names_that_people_have_in_their_scripts_stay() -> None:
    operators = ("--operator", "a", "--operator", "b")
    config, of_engine = serve_options(
        "some/model", "--kv-cache-mb", "18", "--max-body-mb=5", *operators, "--no-prefix-caching"
    )
    assert (config.max_body_bytes, config.operators) == (5 * 2**20, ("a", "b"))
    assert (of_engine.kv_cache_memory_bytes, of_engine.model) == (18 * 2**20, "some/model")
    assert of_engine.enable_prefix_caching is False


def test_a_step_has_room_for_every_sequence() -> None:
    assert serve_options("--max-num-seqs", "300")[1].max_num_batched_tokens == 300
    with pytest.raises(ConfigError, match="max_num_batched_tokens"):
        serve_options("--max-num-seqs", "300", "--max-num-batched-tokens", "256")


def test_bad_options_are_refused() -> None:
    assert isinstance(run("serve", "--share", "none").exception, ConfigError)
    assert isinstance(run("serve", "--api-keys-file", "/no/such/file").exception, ConfigError)
    assert isinstance(run("serve", "--api-key", "").exception, ConfigError)


def test_it_serves_says_where_and_asks_for_the_key() -> None:
    command = [*COMMAND, "serve", "--port", "0", "--api-key", "secret", "--kv-cache-mb", "64", "--no-self-test"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said, log = "", []
        for said in process.stderr:
            if said.startswith("Serving at"):
                break
            log.append(json.loads(said))
        assert any("KV cache: " in line["event"] and line["level"] == "info" for line in log)
        url = re.findall(r"http://127.0.0.1:\d+", said)[0]
        assert f"dashboard at {url}/dashboard" in said
        assert httpx2.get(f"{url}/dashboard", follow_redirects=True).status_code == 200
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/v1/cache/counts", headers={"x-api-key": "secret"}).status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_ctrl_c_while_it_loads_ends_it_at_once() -> None:
    """Python's own end would not do: a thread that compiles kernels then aborts the process."""
    program = """
import threading, time
from foreword.cli.serve import serve_until_told
def run(outputs, signals):
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt
serve_until_told(run)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr == "Stopped.\n"


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


@pytest.mark.parametrize(("share", "status", "says"), [("tenant", 0, "Nothing that is told"), ("all", 3, "can tell what")])
def test_the_probe_says_what_can_be_told(serve: Any, share: str, status: int, says: str) -> None:
    keys = ("--victim-key", "a", "--attacker-key", "b")
    for _ in range(2):  # one in 700 errs by chance
        live: Live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"}), share=share)
        slow_prefill(live)
        result = run("probe-isolation", live.url, *keys, "--samples", "12", "--characters", "400")
        if result.exit_code == status:
            break
    assert result.exit_code == status, result.output
    assert says in result.output
    assert "asked before by the other" in result.output
