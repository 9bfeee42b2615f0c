"""The page of public names."""

import importlib
import inspect
from types import UnionType
from typing import Any, get_origin

from foreword.cli.reference.tables import paragraph, sentence, table

PUBLIC_PACKAGES = (
    "foreword",
    "foreword.cache",
    "foreword.prompt",
    "foreword.audit",
    "foreword.observe",
    "foreword.replay",
    "foreword.testing",
)
PUBLIC_PAGE = """\
<!-- Written by `make reference` from the packages; a test compares it. Change their docstrings or `__all__`. -->
# What is public

The names below, the commands and the HTTP API keep their meaning from one minor version to the next; every change of them is
in the changelog. All other modules and names are Foreword's own and may change at any time.
"""


def public_page() -> str:
    """docs/reference/public.md: every public package with the names it exports, and what each is."""
    parts = [PUBLIC_PAGE]
    for package in PUBLIC_PACKAGES:
        module = importlib.import_module(package)
        rows = [(f"`{name}`", _what_it_is(name, getattr(module, name))) for name in sorted(module.__all__, key=str.lower)]
        parts.append(f"## {package}\n\n{paragraph(module.__doc__)}\n\n{table(('name', 'what it is'), rows)}")
    return "\n".join(parts)


def _what_it_is(name: str, value: Any) -> str:
    """The first sentence of its docstring; of a constant, its type; of another name of a class, that class."""
    if inspect.isclass(value) and value.__name__ != name:
        return f"A type: `{value.__name__}`."
    if isinstance(value, UnionType) or get_origin(value) is not None:
        return "A type."
    if not callable(value) and not inspect.ismodule(value):
        return f"A constant: {type(value).__name__}."
    return sentence(inspect.getdoc(value))
