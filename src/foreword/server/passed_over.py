"""What clients send and this server does not use, told once each: a line a field, not a line a request."""

from collections.abc import Iterable

from foreword.serving.log import Log

MOST = 1000
"""Different ones that are told; clients could make up names without end."""


class PassedOver:
    """Tells of fields, tools and items that were passed over. Lives in the event loop."""

    def __init__(self, log: Log):
        self._log = log
        self._told: set[tuple[str, str]] = set()

    def note(self, path: str, names: Iterable[str]) -> None:
        """A request at an address had these."""
        for name in names:
            if (path, name) not in self._told and len(self._told) < MOST:
                self._told.add((path, name))
                self._log.info("not used", path=path, field=name, told="once")
