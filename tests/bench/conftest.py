from engine.fixtures import make_engine, make_llm, model_dir, one_thread
from server.fixtures import engine_config, serve, tiny_model
from tiers.conftest import valkey_server, valkey_url

__all__ = [
    "engine_config",
    "make_engine",
    "make_llm",
    "model_dir",
    "one_thread",
    "serve",
    "tiny_model",
    "valkey_server",
    "valkey_url",
]
