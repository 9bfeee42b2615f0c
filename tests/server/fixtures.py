"""Fixtures: a tiny random model behind a live server, and the table reader."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest
import torch

from foreword.engine import EngineConfig
from foreword.testing.tiny_models import write_model
from server.live import Live, live_server


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of a tiny Llama with a chat template."""
    return str(write_model(tmp_path_factory.mktemp("llama"), "llama"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The fastest for tiny models."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine_config(tiny_model: str) -> Callable[..., EngineConfig]:
    """Options of an engine on the tiny model, with room for 680 blocks."""

    def make(**options: Any) -> EngineConfig:
        return EngineConfig(
            **{
                "model": tiny_model,
                "kv_cache_memory_bytes": 2**23,
                "max_num_seqs": 8,
                "max_num_batched_tokens": 256,
                "self_test": False,
                **options,
            }
        )

    return make


@pytest.fixture
def serve(engine_config: Callable[..., EngineConfig]) -> Iterator[Callable[..., Live]]:
    """Start servers on the tiny model; options of the engine go in ``engine``. They stop when the test ends."""
    with ExitStack() as stack:

        def start(engine: dict[str, Any] | None = None, **options: Any) -> Live:
            config = engine_config(**(engine or {}))
            return stack.enter_context(live_server(config, **{"served_model_name": "tiny", **options}))

        yield start


@pytest.fixture(scope="session")
def shared_live(engine_config: Callable[..., EngineConfig]) -> Iterator[Live]:
    """One server for all tests that leave nothing behind."""
    config = engine_config()
    with live_server(config, served_model_name="tiny") as running:
        yield running


@pytest.fixture
def live(shared_live: Live) -> Iterator[Live]:
    """The shared server, with an empty cache; afterwards nothing may be open."""
    shared_live.settle()
    shared_live.engine.reset_prefix_cache()
    yield shared_live
    shared_live.settle()


@pytest.fixture(scope="session")
def table_reader() -> Iterator[Live]:
    """A server of the model in the package."""
    config = EngineConfig(kv_cache_memory_bytes=2**26, self_test=False)
    with live_server(config) as running:
        yield running


def openai_client(live: Live, key: str = "none") -> openai.OpenAI:
    """The official SDK, which must not try again by itself."""
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0, timeout=240)


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai_client(live) as client:
        yield client
