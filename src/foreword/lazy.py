"""Imports when something is first used, as they need torch or take long; and what is said where a package is missing."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def extra_needed(by: str, extra: str) -> Iterator[None]:
    """Imports inside need an extra of Foreword: ImportError names the package that is missing, who needs it, and the command
    that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("foreword"):
            raise
        raise ImportError(
            f"{by} needs the package {error.name!r}: install it with  pip install 'foreword[{extra}]'"
        ) from error


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: each name of ``homes`` is imported from its module when it is first asked for.

    Modules are named from ``foreword`` on: ``engine.llm``. ImportError as of extra_needed;
    AttributeError is for a name nobody knows.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with extra_needed(f"{package}.{name}", "engine"):
            return getattr(importlib.import_module(f"foreword.{homes[name]}"), name)

    return __getattr__
