"""A store that fails or is slow is left alone for a while: whoever asks gets an answer at once, and never an error."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from foreword.errors import StoreFailed
from foreword.tiers.base import BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tiers.pieces import size_of

logger = logging.getLogger("foreword")

FAILURES = 3
"""In a row, after which the store is left alone."""
SLOW_SECONDS, SLOWEST_RATE = 5.0, 20e6
"""An answer that takes longer counts as a failure; for each byte of KV it may take 1 / SLOWEST_RATE seconds more."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds it is left alone; twice as long each time that it fails again."""

Answer = TypeVar("Answer")


class GuardedStore:
    """A BlockStore over another one that raises nothing: what cannot be asked is FAILED, not there, not taken.

    After failures in a row nobody asks the store for a while; then one question tries it out, and the others still wait.
    """

    def __init__(self, inner: BlockStore, name: str, clock: Callable[[], float] = time.monotonic):
        """``name``: what the log calls the store."""
        self.name = name
        self.failures = 0
        """All failures so far."""
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._closed_until = 0.0
        self._pause = FIRST_PAUSE
        self._counted = StoreUsage()

    @property
    def left_alone(self) -> bool:
        """Whether nobody asks the store at present."""
        return self._clock() < self._closed_until

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there; none if the store cannot be asked."""
        return self._ask(lambda: self._inner.exists_many(names), [False] * len(names))

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read blocks; all are FAILED if the store cannot be asked."""
        return self._ask(lambda: self._inner.get_many(keys, into), [Outcome.FAILED] * len(keys), _bytes(into))

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write blocks; none is taken if the store cannot be asked."""
        return self._ask(lambda: self._inner.put_many(keys, blocks, keep_until), 0, _bytes(blocks))

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks; 0 if the store cannot be asked."""
        return self._ask(lambda: self._inner.delete_many(names), 0)

    def flush(self) -> None:
        """Flush, if the store can be asked."""
        self._ask(self._inner.flush, None)

    def usage(self) -> StoreUsage:
        """What the store says of itself, and its failures; it is not asked while they are in a row, and does not end one.

        Where it cannot be asked, what this process has done is what it said last: counts never fall.
        """
        failing = self._in_a_row >= FAILURES  # who needs it tries it out
        usage = self._counted if failing else self._ask(self._inner.usage, self._counted, proves=False)
        self._counted = StoreUsage(written_bytes=usage.written_bytes, copied_bytes=usage.copied_bytes, refused=usage.refused)
        return replace(usage, failures=self.failures, left_alone=self.left_alone)

    def close(self) -> None:
        """Close the store, whatever state it is in."""
        try:
            self._inner.close()
        except StoreFailed as error:
            logger.warning("%s could not be closed in order: %s", self.name, error)

    def _ask(self, question: Callable[[], Answer], otherwise: Answer, size: int = 0, proves: bool = True) -> Answer:
        """``proves``: whether an answer shows that the store works."""
        if not self._may_ask():
            return otherwise
        begun = self._clock()
        try:
            answer = question()
        except StoreFailed as error:
            self._count_failure(str(error))
            return otherwise
        except Exception as error:  # of a client's library, or a fault of ours: it is no reason to end a request
            logger.exception("%s failed in a way that nobody foresaw.", self.name)
            self._count_failure(repr(error))
            return otherwise
        took = self._clock() - begun
        if took > SLOW_SECONDS + size / SLOWEST_RATE:
            self._count_failure(f"it took {took:.1f} s to answer")
        elif proves:
            self._count_success()
        return answer

    def _may_ask(self) -> bool:
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                return False
            if self._in_a_row >= FAILURES:  # this question tries it out
                self._closed_until = now + self._pause
            return True

    def _count_failure(self, reason: str) -> None:
        with self._lock:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row < FAILURES:
                return
            self._closed_until = self._clock() + self._pause
            logger.warning("%s is left alone for %.0f s: %s", self.name, self._pause, reason)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _count_success(self) -> None:
        with self._lock:
            if self._in_a_row >= FAILURES:
                logger.warning("%s answers again.", self.name)
            self._in_a_row, self._closed_until, self._pause = 0, 0.0, FIRST_PAUSE


def _bytes(blocks: Sequence[Pieces]) -> int:
    """Of all, which are of one size."""
    return len(blocks) * size_of(blocks[0]) if blocks else 0
