"""Options: how a config's fields stand on the command line, and the checks that all config dataclasses share."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import PurePath
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from foreword.errors import ConfigError

C = TypeVar("C")

UNITS = {
    **{name: 1000**power for power, name in enumerate(("B", "kB", "MB", "GB", "TB"))},
    **{name: 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
"""Of sizes, in bytes."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Flag:
    """A field's form on the command line, where it is another than the field's name; see ``option``.

    name
        The flag, without dashes; None: the field's name with dashes.
    short
        A letter for the short form.
    unit
        What one of the flag's units is in the field's: 2**20 for a flag in MiB of a field in bytes.
    size
        Whether it is given as a size in bytes with a unit, as 20GB.
    both
        Whether what is on unless switched off has a flag that says it is on, too.
    secret
        Whether the value is kept out of messages.
    """

    name: str | None = None
    short: str | None = None
    unit: int = 1
    size: bool = False
    both: bool = False
    secret: bool = False

    @classmethod
    def of(cls, field: "dataclasses.Field[Any]") -> "Flag":
        """The form of a field; the plain one where none was declared."""
        flag: Flag = field.metadata.get("flag", cls())
        return flag


def option(
    default: Any,
    *,
    name: str | None = None,
    short: str | None = None,
    unit: int = 1,
    size: bool = False,
    both: bool = False,
    secret: bool = False,
) -> Any:
    """A dataclass field with a form of its own on the command line: ``port: int = option(8000, short="p")``."""
    return dataclasses.field(default=default, metadata={"flag": Flag(name, short, unit, size, both, secret)})


def size_in_bytes(text: str) -> int:
    """The bytes of a size with a unit: ``20GB``, ``1.5 TiB``. ConfigError for anything else, a number alone among it."""
    found = _SIZE.fullmatch(text.strip())
    unit = next((name for name in UNITS if found and name.lower() == found[2].lower()), None)
    if found is None or unit is None:
        raise ConfigError(f"A size is a number with a unit, one of {', '.join(UNITS)}, as in 20GB; got {text!r}.")
    return int(float(found[1]) * UNITS[unit])


def size_in_words(size: int) -> str:
    """The same in the largest unit of which it is a whole number, those of powers of two before the others."""
    unit = next(name for name in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB", "B") if size % UNITS[name] == 0)
    return f"{size // UNITS[unit]}{unit}"


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    str: ((str, PurePath), "a text"),
    NoneType: ((NoneType,), "None"),
}
"""What is taken for a field of a type, and its name."""


def require_types(config: Any) -> None:
    """ConfigError, with its name and value, for a field that is not of its type: ``"no"`` would be as good as True."""
    config_type: Any = type(config)
    for name, kind in _types(config_type).items():
        value = getattr(config, name)
        if get_origin(kind) is tuple:
            part = get_args(kind)[0]
            right = isinstance(value, tuple | list) and all(_is(each, part) for each in value)
            wanted = f"a tuple, and each of it {KINDS[part][1]}"
        else:
            parts = get_args(kind) or (kind,)
            right = any(_is(value, part) for part in parts)
            wanted = " or ".join(KINDS[part][1] for part in parts)
        require(right, f"{name} is {value!r}; it must be {wanted}.")


@functools.cache
def _types(kind: type) -> dict[str, Any]:
    """The fields of a config and their types."""
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, KINDS[kind][0]) and (kind is bool or not isinstance(value, bool))


def unknown_option(name: str, known: list[str], what: str) -> str:
    """The message for an option nobody knows, with the nearest known names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}."


def build_config(kind: type[C], options: Mapping[str, Any], what: str = "option") -> C:
    """A config dataclass made from options; a name it does not have is a ConfigError."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise ConfigError(unknown_option(name, known, what))
    return kind(**options)


def values_for(kind: type[Any], config: Any) -> dict[str, Any]:
    """The values that ``config`` has for the fields of ``kind``, one of its bases."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}
