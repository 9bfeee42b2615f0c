"""Fixtures of the engines' tests: tiny models, and engines that load each of them once."""

from engine.fixtures import make_engine, model_dir, one_thread

__all__ = ["make_engine", "model_dir", "one_thread"]
