"""A bounded store of what is remembered of late, owner by owner."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_BYTES = 256 * 2**20
"""Memory for each store, by the size its entries are said to have; the oldest go first."""

V = TypeVar("V")


class Remembered(Generic[V]):
    """Entries by owner (a tenant, or what else keeps entries apart) and id, bounded by number and by memory."""

    def __init__(self, limit: int):
        self._limit = limit
        self._entries: OrderedDict[tuple[Hashable, str], tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def add(self, owner: Hashable, name: str, entry: V, size: int) -> None:
        """Remember an entry of about ``size`` bytes; the oldest go where there are too many."""
        self.remove(owner, name)
        self._entries[owner, name] = (entry, size)
        self._bytes += size
        while len(self._entries) > self._limit or self._bytes > MAX_BYTES:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._bytes -= oldest

    def get(self, owner: Hashable, name: str) -> V | None:
        """An entry of this owner; None if there is none, or it is forgotten."""
        found = self._entries.get((owner, name))
        return None if found is None else found[0]

    def remove(self, owner: Hashable, name: str) -> bool:
        """Forget an entry; whether there was one."""
        found = self._entries.pop((owner, name), None)
        if found is None:
            return False
        self._bytes -= found[1]
        return True
