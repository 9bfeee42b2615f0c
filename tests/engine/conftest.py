from engine.fixtures import make_engine, make_llm, model_dir, one_thread
from server.fixtures import engine_config, serve, tiny_model

__all__ = ["engine_config", "make_engine", "make_llm", "model_dir", "one_thread", "serve", "tiny_model"]
