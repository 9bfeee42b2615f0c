"""Lazy exports: names of a package whose modules are imported when a name is first used, as they need torch or take long."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: each name of ``homes`` is imported from its module when it is first asked for.

    Modules are named from ``foreword`` on: ``engine.llm``. ImportError names the missing package and the command that
    installs it; AttributeError is for a name nobody knows.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f"foreword.{homes[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("foreword"):
                raise
            raise ImportError(
                f"{package}.{name} needs the package {error.name!r}: install the engine with  pip install 'foreword[engine]'"
            ) from error

    return __getattr__
