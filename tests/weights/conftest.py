from engine.fixtures import make_engine, make_llm, model_dir, one_thread

__all__ = ["make_engine", "make_llm", "model_dir", "one_thread"]
