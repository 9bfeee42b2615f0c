"""The insides of a cache, for whoever checks it: the check of integrity and tests. Nobody who serves looks in here."""

from dataclasses import dataclass

from foreword.cache.marked_paths import MarkedPaths, MarkedPrefix
from foreword.cache.marks import Marks
from foreword.cache.namespaces import Namespaces
from foreword.cache.pool import BlockPool
from foreword.cache.reservation import Holds
from foreword.cache.residency import Residency, nodes_below
from foreword.cache.transfers import Transfers
from foreword.cache.tree import Node, RadixTree, Root


@dataclass(frozen=True, slots=True)
class CacheParts:
    """The rooms of one cache.

    holds
        What is noted of every reservation that has not been released.
    transfers
        What is on its way between tiers.
    """

    tree: RadixTree
    pool: BlockPool
    residency: Residency
    marked: MarkedPaths
    marks: Marks
    namespaces: Namespaces
    holds: Holds
    transfers: Transfers

    def roots(self) -> list[Root]:
        """All roots, the retired ones last."""
        return [*self.tree.roots.values(), *self.residency.retired]

    def nodes(self) -> list[Node]:
        """All nodes that can be found, parents before children."""
        return [node for root in self.tree.roots.values() for node in nodes_below(root)]

    def marked_prefixes(self) -> list[MarkedPrefix]:
        """The prefixes that are marked, the one used longest ago first."""
        return list(self.marked)
