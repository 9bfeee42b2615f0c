"""Lines about what clients do wrong: so many a minute of each kind and client, the rest counted and told once."""

from collections.abc import Callable
from dataclasses import dataclass

from foreword.serving.log import Log

LINES = 10
"""Of one kind and client within SECONDS."""
SECONDS = 60.0
MOST_CLIENTS = 1000
"""Of whom lines are counted at a time; all others count as one."""
OTHERS = "others"


@dataclass(slots=True)
class _Window:
    began: float
    told: int = 0
    kept_back: int = 0


class LimitedLog:
    """A log in which no client can write without end. Lives in the event loop. ``now`` in seconds."""

    def __init__(self, log: Log, now: Callable[[], float]):
        self._log = log
        self._now = now
        self._windows: dict[tuple[str, str], _Window] = {}

    def warn(self, event: str, client: str, **fields: object) -> None:
        """Write a line, or count it."""
        self.tell_of_kept_back()
        key = (event, client)
        if key not in self._windows and len(self._windows) >= MOST_CLIENTS:
            key = (event, OTHERS)
        window = self._windows.setdefault(key, _Window(self._now()))
        if window.told < LINES:
            window.told += 1
            self._log.warning(event, client=client, **fields)
        else:
            window.kept_back += 1

    def tell_of_kept_back(self, all_of_them: bool = False) -> None:
        """Say how many lines were kept back in the minutes that are over, or of all of them until now."""
        end = self._now() - SECONDS
        while self._windows:
            key, window = next(iter(self._windows.items()))  # the oldest
            if window.began > end and not all_of_them:
                return
            del self._windows[key]
            if window.kept_back:
                event, client = key
                self._log.warning(event, client=client, more=window.kept_back, seconds=SECONDS)
