"""How options are checked: one place for the checks that every config dataclass shares."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from foreword.errors import ConfigError

C = TypeVar("C")


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def unknown_option(name: str, known: list[str], what: str) -> str:
    """The message for an option nobody knows, with the nearest known names."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}."


def build_config(kind: type[C], options: Mapping[str, Any], what: str = "option") -> C:
    """Make a config dataclass from options; a name it does not have is a ConfigError."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise ConfigError(unknown_option(name, known, what))
    return kind(**options)
