"""What waits and runs at each replica, in arrays with an entry a replica, so that all are compared at once."""

import numpy as np
import numpy.typing as npt

from foreword.routing.records import ReplicaFacts

Floats = npt.NDArray[np.float64]

COLUMNS = (
    "token_seconds",  # to compute a prompt token
    "token_recent",  # the same times the seconds of work placed of late, what is older counting less
    "over",  # requests, with one more, that it has and cannot run: their share of those that it can
    "limit",  # tokens of the longest prompt that it takes now; CLOSED: it takes none
    "token_load_seconds",  # to load one from a lower tier; 0: it has none, or one that is slower than computing
    "concurrency",  # requests that it runs at a time
    "waiting", "pending",  # requests that were placed and have not begun to answer, and the seconds of their work
    "since",  # when the first of those that wait could begin to be computed
    "first", "rest", "late",  # what follows from these: queue_seconds
    "running",  # requests that are being answered
    "slowdown",  # how many times longer computing takes beside those
)  # fmt: skip
STANDING = slice(0, 3)  # the first columns: a weighted sum of them is a part of the cost
CLOSED = -1.0
FEW_SECONDS = 60.0  # of work a replica: the shares of less say little of who has more
RUN_WEIGHT = 0.05  # of the request that ended last, in the mean of how long one is being answered
SMALLEST_UNIT = 2.0**-64


class Loads:
    """The work placed at replicas. A replica is a small number: its place in each column of ``table``. Times in seconds.

    What a choice needs of a replica is kept up to date as things happen there, so that it costs a choice little.
    """

    def __init__(self, balance_seconds: float):
        self._resize(np.zeros((len(COLUMNS), 0)))
        self._balance_seconds = balance_seconds
        self._unit = 1.0  # seconds that one of "token_recent" is worth: fewer as time passes
        self._unit_at = 0.0
        self._run_seconds = 0.0  # the mean of how long requests were being answered
        self._ended = 0

    def join(self, replica: int, facts: ReplicaFacts) -> None:
        """A replica takes requests from now on. Of the work of late it is taken to have had its share."""
        recent = self._mean_recent()
        if replica == self._columns.shape[1]:
            self._resize(np.pad(self._columns, ((0, 0), (0, 1))))
        row = dict.fromkeys(COLUMNS, 0.0) | {
            "token_seconds": 1 / facts.prefill_rate,
            "token_recent": recent / facts.prefill_rate,
            "limit": float(facts.max_tokens),
            "concurrency": float(facts.concurrency),
        }
        self._columns[:, replica] = [row[name] for name in COLUMNS]
        self.loads_at(replica, facts.load_rate)
        self._share()
        self._add_up(replica)

    def loads_at(self, replica: int, load_rate: float) -> None:
        """A replica loads so many tokens a second from its lower tier."""
        quicker = load_rate * self.table["token_seconds"][replica] > 1
        self.table["token_load_seconds"][replica] = 1 / load_rate if quicker else 0.0

    def close(self, replica: int) -> None:
        """A replica takes no more requests."""
        self.table["limit"][replica] = CLOSED
        self._share()

    def placed(self, replica: int, seconds: float, now: float) -> None:
        """A request was placed that is so much work there."""
        table = self.table
        if not table["waiting"][replica]:
            table["since"][replica] = now
        table["waiting"][replica] += 1
        table["pending"][replica] += seconds
        self._fade(now)
        table["token_recent"][replica] += table["token_seconds"][replica] * seconds / self._unit
        self._add_up(replica)

    def started(self, replica: int, seconds: float, now: float) -> None:
        """A request that was placed as so much work has begun to answer."""
        self.table["running"][replica] += 1
        self.withdrawn(replica, seconds, now)

    def withdrawn(self, replica: int, seconds: float, now: float) -> None:
        """A request that was placed as so much work has ended before it began to answer."""
        table = self.table
        table["waiting"][replica] -= 1
        left = table["pending"][replica] - seconds
        table["pending"][replica] = max(left, 0.0) if table["waiting"][replica] else 0.0
        table["since"][replica] = now
        self._add_up(replica)

    def ended(self, replica: int, run_seconds: float) -> None:
        """A request that had begun to answer has ended, after so long."""
        self.table["running"][replica] -= 1
        self._ended += 1
        self._run_seconds += max(RUN_WEIGHT, 1 / self._ended) * (run_seconds - self._run_seconds)
        self._add_up(replica)

    def queue_seconds(self, now: float) -> Floats:
        """How much work there is at each replica before what comes now.

        The first in line is taken to be computed since the one before it ended: so much of its work is done, at most all of
        it. What it takes beyond twice its time counts as work again: a replica that hangs does not look idle.
        """
        table = self.table
        return np.maximum(np.maximum(table["first"] - now, table["rest"]), table["late"] + now)

    def standing_seconds(self, balance_tokens: float, now: float) -> Floats:
        """How long it takes until a replica runs fewer requests than it can, and the time of so many prompt tokens there for
        each time that the work placed there of late is more than the mean of those that take requests."""
        self._fade(now)
        mean = self._mean_recent() * self._unit
        weight = balance_tokens / (mean + FEW_SECONDS)
        return np.array((-weight * mean, weight * self._unit, self._run_seconds)) @ self._columns[STANDING]

    def _resize(self, columns: Floats) -> None:
        self._columns = columns
        self.table: dict[str, Floats] = dict(zip(COLUMNS, columns, strict=True))
        self._shares = np.zeros(columns.shape[1])

    def _add_up(self, replica: int) -> None:
        """What follows from the requests that a replica has."""
        table = self.table
        waiting, pending, since, running, concurrency = (
            table[name].item(replica) for name in ("waiting", "pending", "since", "running", "concurrency")
        )
        each = pending / max(waiting, 1.0)  # the work of the first in line
        table["first"][replica] = pending + since if waiting else -np.inf
        table["rest"][replica] = pending - each
        table["late"][replica] = pending - 3 * each - since if waiting else -np.inf
        table["slowdown"][replica] = 1.0 + min(running / concurrency, 1.0)
        table["over"][replica] = max(waiting + running + 1.0 - concurrency, 0.0) / concurrency

    def _share(self) -> None:
        """What takes the column of work of late to the mean of those that take requests."""
        takes = self.table["limit"] > CLOSED
        self._shares[:] = takes / self.table["token_seconds"] / max(int(np.count_nonzero(takes)), 1)

    def _mean_recent(self) -> float:
        return float(self.table["token_recent"] @ self._shares)

    def _fade(self, now: float) -> None:
        if now > self._unit_at:
            self._unit *= 0.5 ** ((now - self._unit_at) / self._balance_seconds)
            self._unit_at = now
            if self._unit < SMALLEST_UNIT:
                self.table["token_recent"] *= self._unit
                self._unit = 1.0
