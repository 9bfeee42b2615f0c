"""What hosted models charge for prompt tokens, and from what length on and for how long they cache them: a table of data."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Literal

from foreword.config import build_config
from foreword.errors import ConfigError

_PER = 1_000_000
_ROUTE = re.compile(r"(?:.*/)?(?:(?:[a-z]{2,6}\.)?anthropic\.)?")
_EDITION = re.compile(r"(?:-\d{4}-?\d{2}-?\d{2})?(?:-v\d+(?::\d+)?|@\d{8}|-latest)?$")


@dataclass(frozen=True)
class ModelPrice:
    """One row of the table.

    ``input`` and ``output`` are US dollars for a million tokens; ``read``, ``write`` and ``write_long`` multiples of
    ``input`` for tokens that are read from the cache, written to it, and written with the longer lifetime. ``minimum`` is
    the shortest prefix that is cached, ``step`` the unit in which hits are counted, both in tokens; ``ttl`` and
    ``ttl_long`` are seconds after the last use (None: not stated, or not offered). ``marks`` says whether only marked
    prefixes are cached, marks are understood, or there are none. A prompt of more than ``long_from`` tokens is charged as a
    whole at ``long_input`` and ``long_output`` (None: there is no such rate).

    ``source`` is where the prices were read, ``rules`` where
    the minimum and the lifetimes were, and ``date`` when.
    """

    name: str
    provider: str
    input: float
    output: float
    read: float
    write: float
    minimum: int
    marks: Literal["required", "optional", "none"]
    date: date
    source: str
    rules: str
    write_long: float | None = None
    step: int = 1
    ttl: int | None = None
    ttl_long: int | None = None
    long_from: int | None = None
    long_input: float | None = None
    long_output: float | None = None

    def dollars(self, plain: int = 0, read: int = 0, written: int = 0, written_long: int = 0, output: int = 0) -> float:
        """US dollars for tokens, each counted under one of the names: plain and written ones are computed, read ones not."""
        long = self.write if self.write_long is None else self.write_long
        prompt = plain + read * self.read + written * self.write + written_long * long
        at, answered = self.rates(plain + read + written + written_long)
        return (prompt * at + output * answered) / _PER

    def rates(self, prompt: int) -> tuple[float, float]:
        """US dollars for a million tokens of input and of output, with a prompt of so many tokens."""
        if self.long_from is None or self.long_input is None or self.long_output is None or prompt <= self.long_from:
            return self.input, self.output
        return self.long_input, self.long_output


class PriceTable:
    """Rows by model name. Models that are not in it have no price: nothing is guessed."""

    def __init__(self, rows: Mapping[str, ModelPrice]):
        self._rows = dict(rows)

    @classmethod
    def from_toml(cls, text: str) -> "PriceTable":
        """Read a table of ``[[model]]`` entries with the fields of ModelPrice. ConfigError says which row is wrong."""
        try:
            entries = tomllib.loads(text).get("model", [])
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"The price table is not TOML: {error}") from error
        rows = [_row(number, entry) for number, entry in enumerate(entries, 1)]
        return cls({row.name: row for row in rows})

    @classmethod
    def built_in(cls) -> "PriceTable":
        """The table in the package."""
        return cls.from_toml(resources.files(__package__).joinpath("prices.toml").read_text("utf-8"))

    def find(self, model: str) -> ModelPrice | None:
        """The row of a model; None if there is none.

        A route before the name (``anthropic/``, ``us.anthropic.``), an edition behind it (``-2026-03-05``, ``-latest``) and
        a dot for a dash (``claude-sonnet-4.5``) do not matter. Otherwise the name must be the table's: a newer model is not
        priced like an older one.
        """
        name = _ROUTE.sub("", model.strip().lower(), count=1)
        plain = _EDITION.sub("", name)
        return self._rows.get(name) or self._rows.get(plain) or self._rows.get(plain.replace(".", "-"))

    def __iter__(self) -> Iterator[ModelPrice]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


def _row(number: int, entry: Mapping[str, Any]) -> ModelPrice:
    where = f"Row {number} of the price table ({entry.get('name', 'no name')})"
    try:
        row = build_config(ModelPrice, entry, f"field of row {number} of the price table")
    except TypeError as error:
        raise ConfigError(f"{where} lacks a field: {error}") from error
    if min(row.input, row.output, row.read, row.write, row.minimum, row.step - 1) < 0:
        raise ConfigError(f"{where} has a negative figure.")
    if len({row.long_from is None, row.long_input is None, row.long_output is None}) > 1:
        raise ConfigError(f"{where} has some of long_from, long_input and long_output; give all three or none.")
    if row.marks not in ("required", "optional", "none"):
        raise ConfigError(f"{where} has marks {row.marks!r}; known are 'required', 'optional', 'none'.")
    return row
