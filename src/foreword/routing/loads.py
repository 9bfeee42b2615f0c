"""What waits and runs at each replica, in arrays with an entry a replica, so that all are compared at once."""

import numpy as np
import numpy.typing as npt

from foreword.routing.records import ReplicaFacts

Floats = npt.NDArray[np.float64]

COLUMNS = (
    "limit",  # tokens of the longest prompt that it takes now; CLOSED: it takes none
    "share",  # one over the number of those that take requests, for each of them
    "token_seconds",  # to compute a prompt token
    "token_load_seconds",  # to load one from a lower tier; 0: it has none, or one that is slower than computing
    "concurrency",  # requests that it runs at a time
    "waiting", "pending",  # requests that were placed and have not begun to answer, and the seconds of their work
    "since",  # when the first of those that wait could begin to be computed
    "first", "rest", "late",  # what follows from these: queue_seconds
    "running",  # requests that are being answered
    "slowdown",  # how many times longer computing takes beside those
    "over",  # requests, with one more, that it has and cannot run: their share of those that it can
    "recent",  # seconds of work placed of late, what is older counting less, in units that shrink meanwhile
)  # fmt: skip
CLOSED = -1.0
FEW_SECONDS = 60.0  # of work a replica: the shares of less say little of who has more
RUN_WEIGHT = 0.05  # of the request that ended last, in the mean of how long one is being answered
SMALLEST_UNIT = 2.0**-64


class Loads:
    """The work placed at replicas. A replica is a small number: its place in each column of ``table``. Times in seconds.

    What a choice needs of a replica is kept up to date as things happen there, so that it costs a choice little.
    """

    def __init__(self, balance_seconds: float):
        self.table: dict[str, Floats] = {name: np.zeros(0) for name in COLUMNS}
        self._balance_seconds = balance_seconds
        self._unit, self._unit_at = 1.0, 0.0  # seconds that one of "recent" is worth, and when: it halves as time passes
        self._run_seconds = 0.0  # the mean of how long requests were being answered
        self._ended = 0

    def join(self, replica: int, facts: ReplicaFacts) -> None:
        """A replica takes requests from now on. Of the work of late it is taken to have had its share."""
        row = dict.fromkeys(COLUMNS, 0.0) | {
            "limit": float(facts.max_tokens),
            "token_seconds": 1 / facts.prefill_rate,
            "token_load_seconds": 1 / facts.load_rate if facts.load_rate > facts.prefill_rate else 0.0,
            "concurrency": float(facts.concurrency),
            "recent": self._mean_recent(),
        }
        for name, value in row.items():
            if replica == len(self.table[name]):
                self.table[name] = np.append(self.table[name], 0.0)
            self.table[name][replica] = value
        self._share()
        self._add_up(replica)

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
        table["recent"][replica] += seconds / self._unit
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

    def room_seconds(self) -> Floats:
        """How long it takes until a replica runs fewer requests than it can."""
        return self.table["over"] * self._run_seconds

    def above_mean(self, now: float) -> Floats:
        """How much more work was placed at each replica of late than at the mean of those that take requests, as a share."""
        self._fade(now)
        mean = self._mean_recent() * self._unit
        return self.table["recent"] * (self._unit / (mean + FEW_SECONDS)) - mean / (mean + FEW_SECONDS)

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
        takes = self.table["limit"] > CLOSED
        self.table["share"] = takes / max(np.count_nonzero(takes), 1)

    def _mean_recent(self) -> float:
        return float(self.table["recent"] @ self.table["share"])

    def _fade(self, now: float) -> None:
        if now > self._unit_at:
            self._unit *= 0.5 ** ((now - self._unit_at) / self._balance_seconds)
            self._unit_at = now
            if self._unit < SMALLEST_UNIT:
                self.table["recent"] *= self._unit
                self._unit = 1.0
