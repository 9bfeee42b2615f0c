from engine.fixtures import load_once, make_llm, model_dir, one_thread

__all__ = ["load_once", "make_llm", "model_dir", "one_thread"]
