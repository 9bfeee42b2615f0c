"""What waits and runs at each replica, in arrays with an entry a replica, so that all are compared at once."""

import numpy as np
import numpy.typing as npt

from foreword.routing.records import ReplicaFacts

Floats = npt.NDArray[np.float64]

COLUMNS = (
    "rate", "load_rate", "concurrency", "max_tokens",  # of ReplicaFacts
    "open",  # 1 while it takes requests
    "waiting", "pending",  # requests that were placed and have not begun to answer, and the seconds of their work
    "running",  # requests that are being answered
    "since",  # when the first of those that wait could begin to be computed
    "recent",  # seconds of work placed of late, what is older counting less
)  # fmt: skip
FEW_SECONDS = 60.0  # of work a replica: the shares of less say little of who has more
RUN_WEIGHT = 0.05  # of the request that ended last, in the mean of how long one is being answered


class Loads:
    """The work placed at replicas. A replica is a small number: its place in each column of ``table``. Times in seconds."""

    def __init__(self, balance_seconds: float):
        self.table: dict[str, Floats] = {name: np.zeros(0) for name in COLUMNS}
        self._recent_at = 0.0
        self._balance_seconds = balance_seconds
        self._run_seconds = 0.0  # the mean of how long requests were being answered
        self._ended = 0

    def join(self, replica: int, facts: ReplicaFacts) -> None:
        """A replica takes requests from now on. Of the work of late it is taken to have had its share."""
        row = dict.fromkeys(COLUMNS, 0.0) | {
            "rate": facts.prefill_rate,
            "load_rate": facts.load_rate,
            "concurrency": facts.concurrency,
            "max_tokens": facts.max_tokens,
            "open": 1.0,
            "recent": self._mean_recent(),
        }
        for name, value in row.items():
            if replica == len(self.table[name]):
                self.table[name] = np.append(self.table[name], 0.0)
            self.table[name][replica] = value

    def close(self, replica: int) -> None:
        """A replica takes no more requests."""
        self.table["open"][replica] = 0.0

    def placed(self, replica: int, seconds: float, now: float) -> None:
        """A request was placed that is so much work there."""
        table = self.table
        if not table["waiting"][replica]:
            table["since"][replica] = now
        table["waiting"][replica] += 1
        table["pending"][replica] += seconds
        self._fade(now)
        table["recent"][replica] += seconds

    def started(self, replica: int, seconds: float, now: float) -> None:
        """A request that was placed as so much work has begun to answer."""
        self.withdrawn(replica, seconds, now)
        self.table["running"][replica] += 1

    def withdrawn(self, replica: int, seconds: float, now: float) -> None:
        """A request that was placed as so much work has ended before it began to answer."""
        table = self.table
        table["waiting"][replica] -= 1
        left = table["pending"][replica] - seconds
        table["pending"][replica] = max(left, 0.0) if table["waiting"][replica] else 0.0
        table["since"][replica] = now

    def ended(self, replica: int, run_seconds: float) -> None:
        """A request that had begun to answer has ended, after so long."""
        self.table["running"][replica] -= 1
        self._ended += 1
        self._run_seconds += max(RUN_WEIGHT, 1 / self._ended) * (run_seconds - self._run_seconds)

    def queue_seconds(self, now: float) -> Floats:
        """How much work there is at each replica before what comes now.

        The first in line is taken to be computed since the one before it ended: so much of its work is done, at most all of
        it. What it takes beyond twice its time counts as work again: a replica that hangs does not look idle.
        """
        table = self.table
        pending, waiting = table["pending"], table["waiting"]
        each = pending / np.maximum(waiting, 1.0)
        elapsed = np.where(waiting > 0, now - table["since"], 0.0)
        return pending - np.minimum(elapsed, each) + np.maximum(elapsed - 2 * each, 0.0)

    def slowdown(self) -> Floats:
        """How many times longer computing takes beside the requests that generate."""
        table = self.table
        return 1.0 + np.minimum(table["running"] / np.maximum(table["concurrency"], 1.0), 1.0)

    def room_seconds(self) -> Floats:
        """How long it takes until a replica runs fewer requests than it can."""
        table = self.table
        concurrency = np.maximum(table["concurrency"], 1.0)
        over = np.maximum(table["waiting"] + table["running"] + 1.0 - concurrency, 0.0)
        return over / concurrency * self._run_seconds

    def above_mean(self, now: float) -> Floats:
        """How much more work was placed at each replica of late than at the mean of those that take requests, as a share."""
        self._fade(now)
        mean = self._mean_recent()
        return (self.table["recent"] - mean) / (mean + FEW_SECONDS)

    def _mean_recent(self) -> float:
        count = self.table["open"].sum()
        return float(self.table["recent"] @ self.table["open"] / count) if count else 0.0

    def _fade(self, now: float) -> None:
        if now > self._recent_at:
            self.table["recent"] *= 0.5 ** ((now - self._recent_at) / self._balance_seconds)
            self._recent_at = now
