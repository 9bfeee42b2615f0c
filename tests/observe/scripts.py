"""The scripts in benchmarks/, as modules. Their folder is not put on the path: its names are those of folders here."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str, as_name: str) -> ModuleType:
    """Import benchmarks/``name``.py under another name."""
    if as_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(as_name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[as_name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[as_name]
