"""Actions: what the cache asks of whoever owns the KV memory. It decides, and the runner carries out.

An action is a frozen record; ``CacheAction`` is the union of them all. One that is added is a record here, a place in the
cache that adds it, and a handler at the runner. What a tier below the pool would bring: ``StoreBlocks``, added where blocks
are cut from a leaf, which stay pinned (pool.py) until they are stored; ``LoadBlocks``, added where an edge that lies on the
tier gets blocks again, and not readable before ``Actions`` hears that it arrived; ``DropBlocks``, where a ghost is
forgotten.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class CopyBlock:
    """Copy the KV of the first ``tokens`` tokens of block ``source`` to block ``target``, in all layers."""

    source: int
    target: int
    tokens: int


CacheAction: TypeAlias = CopyBlock


class Actions:
    """Actions that wait to be carried out, in the order in which they have to be, before the next step computes."""

    def __init__(self) -> None:
        self._waiting: list[CacheAction] = []

    def add(self, action: CacheAction) -> None:
        """Put an action behind those that wait."""
        self._waiting.append(action)

    def withdraw(self, action: CacheAction) -> None:
        """Take back an action that has not been taken yet; nothing happens if it has."""
        self._waiting = [waiting for waiting in self._waiting if waiting is not action]

    def take(self) -> tuple[CacheAction, ...]:
        """All that wait, for the step that is about to run; they are the caller's to carry out."""
        if not self._waiting:
            return ()
        taken, self._waiting = tuple(self._waiting), []
        return taken
