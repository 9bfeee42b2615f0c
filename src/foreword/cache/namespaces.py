"""The namespaces that have a tree: entered when they are first used, swept out when they have become empty."""

from foreword.cache.namespace import Namespace
from foreword.cache.tree import RadixTree, Root

SWEEP_NAMESPACES = 64  # how many new ones may come before the empty ones are swept out


class Namespaces:
    """Whose roots a tree has."""

    def __init__(self, tree: RadixTree):
        self._tree = tree
        self._sweep_at = SWEEP_NAMESPACES

    def __len__(self) -> int:
        return len(self._tree.roots)

    def root(self, namespace: Namespace) -> Root:
        """The root of a namespace; entering a new one now and then sweeps out those that have become empty."""
        if namespace.key not in self._tree.roots and len(self) >= self._sweep_at:
            self._tree.drop_unused_roots()
            self._sweep_at = 2 * len(self) + SWEEP_NAMESPACES
        root = self._tree.root(namespace.key)
        root.namespace = namespace
        return root

    def clear(self) -> None:
        """Forget all of them, and their roots; who holds a root still has it."""
        self._tree.drop_all_roots()
