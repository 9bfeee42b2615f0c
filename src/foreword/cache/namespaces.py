"""The namespaces that have a tree: entered when they are first used, swept out when they have become empty."""

from collections.abc import Iterator
from itertools import islice

from foreword.cache.namespace import Namespace
from foreword.cache.tree import RadixTree, Root

SWEEP_NAMESPACES = 64  # how many new ones may come before the empty ones are swept out


class Namespaces:
    """Whose roots a tree has."""

    def __init__(self, tree: RadixTree):
        self._tree = tree
        self._known: dict[bytes, Namespace] = {}  # by key, in the order in which they were entered
        self._sweep_at = SWEEP_NAMESPACES

    def __len__(self) -> int:
        return len(self._known)

    def root(self, namespace: Namespace) -> Root:
        """The root of a namespace; entering a new one now and then sweeps out those that have become empty."""
        if namespace.key not in self._known:
            if len(self._known) >= self._sweep_at:
                for key in self._tree.drop_unused_roots():
                    del self._known[key]
                self._sweep_at = 2 * len(self._known) + SWEEP_NAMESPACES
            self._known[namespace.key] = namespace
        return self._tree.root(namespace.key)

    def newest_but(self, namespace: Namespace, count: int) -> Iterator[tuple[Namespace, Root]]:
        """Up to ``count`` others, those entered last first, with their roots."""
        for other in islice(reversed(self._known.values()), count + 1):
            if other.key != namespace.key:
                yield other, self._tree.roots[other.key]

    def clear(self) -> None:
        """Forget all of them, and their roots; who holds a root still has it."""
        self._tree.drop_all_roots()
        self._known.clear()
