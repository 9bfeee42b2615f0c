"""The model as clients see it: by which names they may ask for it."""

import re
from dataclasses import dataclass

from foreword.errors import UnknownModel

ANY = "*"
"""In a name: any characters, or none."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model and its names.

    names
        At least one; with ``*`` in it a pattern, for clients that ask for names of their own making: ``claude-*``.
    created
        Since when it is served, in seconds since 1970.
    """

    names: tuple[str, ...]
    max_model_len: int
    created: int

    @property
    def name(self) -> str:
        """Its name in figures and logs: the first one that is no pattern, else the first."""
        return next((name for name in self.names if ANY not in name), self.names[0])

    def check_name(self, name: str) -> None:
        """UnknownModel unless the model is served by this name."""
        if not any(_matches(known, name) for known in self.names):
            shown = ", ".join(map(repr, self.names))
            raise UnknownModel(f"The model {name[:200]!r} is not served here; this server has {shown}.")


def _matches(known: str, name: str) -> bool:
    return known == name or (ANY in known and re.fullmatch(".*".join(map(re.escape, known.split(ANY))), name) is not None)
