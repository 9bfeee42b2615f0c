"""A bounded store of what is remembered of late, tenant by tenant."""

from collections import OrderedDict
from typing import Generic, TypeVar

MAX_BYTES = 256 * 2**20
"""Memory for each store, by the size its entries are said to have; the oldest go first."""

V = TypeVar("V")


class Remembered(Generic[V]):
    """Entries by tenant and id, bounded by number and by memory; each tenant sees its own."""

    def __init__(self, limit: int):
        self._limit = limit
        self._entries: OrderedDict[tuple[str, str], tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def add(self, tenant: str, name: str, entry: V, size: int) -> None:
        """Remember an entry of about ``size`` bytes; the oldest go where there are too many."""
        self.remove(tenant, name)
        self._entries[tenant, name] = (entry, size)
        self._bytes += size
        while len(self._entries) > self._limit or self._bytes > MAX_BYTES:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._bytes -= oldest

    def get(self, tenant: str, name: str) -> V | None:
        """An entry of this tenant; None if there is none, or it is forgotten."""
        found = self._entries.get((tenant, name))
        return None if found is None else found[0]

    def remove(self, tenant: str, name: str) -> bool:
        """Forget an entry; whether there was one."""
        found = self._entries.pop((tenant, name), None)
        if found is None:
            return False
        self._bytes -= found[1]
        return True
