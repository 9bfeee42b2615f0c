"""How the thread that stores gives way: while others compute or load it takes a small share of a core, which grows as its
queue fills. Imports no torch.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE, FULL_SHARE = 0.0125, 0.25
"""Of a core's time, while the queue is less than ``CALM`` full, and when it is full: what it has no place for has to be
computed again, which takes fifty times as long as storing. In between the share grows with what waits, so that storing takes
what keeps up with computing. Cores that compute together wait for each other: a step takes longer by 1.3 times the share."""
CALM = 0.5
IDLE_SECONDS = 0.05
"""Nobody has computed for so long: the engine is idle. So often who waits for a turn looks whether it is."""


class Pace:
    """Turns of one thread that stores, beside any number that compute or load.

    What counts is the time that a turn takes of the processor, not that for which it waits for a disk; work that a store
    leaves to threads of its own is not seen. While nobody else is at work, and after ``hurry``, turns follow at once.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        wait: Callable[[float], object] | None = None,
    ):
        """``spent``: seconds of the processor's time that the calling thread has taken. ``wait``: sleeps so many seconds."""
        self._clock = clock
        self._spent = spent
        self._hurried = threading.Event()
        self._wait = self._hurried.wait if wait is None else wait
        self._lock = threading.Lock()
        self._at_work = 0
        self._rested_since = -IDLE_SECONDS
        self._ended, self._took = 0.0, 0.0

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """Meanwhile a step is computed, or a load brought: turns are rare."""
        with self._lock:
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1
                self._rested_since = self._clock()

    @contextmanager
    def turn(self, fullness: Callable[[], float]) -> Iterator[None]:
        """A piece of work; waits until it may begin. ``fullness``: how much of the queue's room is taken now, of 1."""
        while (left := self._next(fullness()) - self._clock()) > 0 and self._others_work() and not self._hurried.is_set():
            self._wait(min(left, IDLE_SECONDS))
        before = self._spent()
        try:
            yield
        finally:
            self._ended, self._took = self._clock(), self._spent() - before

    def hurry(self) -> None:
        """From now on nobody is given way to."""
        self._hurried.set()

    def _next(self, fullness: float) -> float:
        """When the next turn may begin."""
        return self._ended + self._took / share(fullness)

    def _others_work(self) -> bool:
        with self._lock:
            return self._at_work > 0 or self._clock() - self._rested_since < IDLE_SECONDS


def share(fullness: float) -> float:
    """Of a core's time, for a queue that is so full."""
    pressing = min(max(fullness - CALM, 0.0) / (1 - CALM), 1.0)
    return SHARE + pressing * (FULL_SHARE - SHARE)
