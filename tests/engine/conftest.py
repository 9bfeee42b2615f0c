from engine.fixtures import make_engine, make_llm, model_dir, one_thread
from engine.stored_fixtures import config, folder, left_behind, truth
from server.fixtures import engine_config, serve, tiny_model

__all__ = [
    "config",
    "engine_config",
    "folder",
    "left_behind",
    "make_engine",
    "make_llm",
    "model_dir",
    "one_thread",
    "serve",
    "tiny_model",
    "truth",
]
