"""A store that fails on demand: what disks, networks and other people do to stores, as often as a test says."""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum

from foreword.errors import StoreFailed
from foreword.tiers.base import BlockKey, BlockStore, Outcome, Pieces, StoreUsage


class Fault(StrEnum):
    """What goes wrong with a call."""

    RAISES = "raises"
    """It fails at once: the server is gone, the disk cannot be read."""
    TIMES_OUT = "times out"
    """It fails after ``seconds``."""
    LATE = "late"
    """It answers rightly, after ``seconds``."""
    SHORT_READ = "short read"
    """Blocks come back in part: their last piece is not filled, and they are CORRUPT."""
    FLIPPED = "flipped byte"
    """Blocks come back with a wrong byte, and are CORRUPT."""
    FULL = "full disk"
    """Nothing can be written; all else works."""


class FaultyStore:
    """A BlockStore over another one (``inner``) that fails as ``faults`` says, call by call.

    ``faults(method)`` is asked before each call, with the method's name; None lets the call through.
    """

    def __init__(
        self,
        inner: BlockStore,
        faults: Callable[[str], Fault | None],
        seconds: float = 5.0,
        wait: Callable[[float], None] = time.sleep,
    ):
        """``wait``: how it waits; a test's clock may do it instead."""
        self._inner = inner
        self._faults = faults
        self._seconds = seconds
        self._wait = wait
        self.calls: list[str] = []
        """Methods that were called, in order."""

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Ask the store beneath, or fail."""
        self._begin("exists_many")
        return self._inner.exists_many(names)

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read from the store beneath, or fail; harmed blocks are harmed in memory too."""
        fault = self._begin("get_many")
        outcomes = self._inner.get_many(keys, into)
        if fault not in (Fault.SHORT_READ, Fault.FLIPPED):
            return outcomes
        for pieces in (each for each, outcome in zip(into, outcomes, strict=True) if outcome is Outcome.FOUND):
            if fault is Fault.FLIPPED:
                pieces[0][0] ^= 1
            else:
                pieces[-1][:] = bytes(len(pieces[-1]))
        return [Outcome.CORRUPT if outcome is Outcome.FOUND else outcome for outcome in outcomes]

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write to the store beneath, or fail."""
        if self._begin("put_many") is Fault.FULL:
            raise StoreFailed("No space left on device.")
        return self._inner.put_many(keys, blocks, keep_until)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove from the store beneath, or fail."""
        self._begin("delete_many")
        return self._inner.delete_many(names)

    def flush(self) -> None:
        """Flush the store beneath, or fail."""
        if self._begin("flush") is Fault.FULL:
            raise StoreFailed("No space left on device.")
        self._inner.flush()

    def usage(self) -> StoreUsage:
        """That of the store beneath, or fail."""
        self._begin("usage")
        return self._inner.usage()

    def close(self) -> None:
        """Close the store beneath, or fail."""
        self._begin("close")
        self._inner.close()

    def _begin(self, method: str) -> Fault | None:
        self.calls.append(method)
        fault = self._faults(method)
        if fault in (Fault.TIMES_OUT, Fault.LATE):
            self._wait(self._seconds)
        if fault in (Fault.RAISES, Fault.TIMES_OUT):
            raise StoreFailed(f"{method} {fault}.")
        return fault
