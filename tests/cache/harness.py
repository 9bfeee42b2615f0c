"""The machine whose KV are hashes, which also looks into the cache's tree; and shorthands for tests."""

from foreword.account import HitEnd
from foreword.cache import CacheConfig, Namespace, pack_tokens
from foreword.cache.residency import nodes_below
from foreword.cache.tree import Node
from foreword.testing.hash_kv import SPACE, HashMachine, Running


class Machine(HashMachine):
    """Looks into the tree."""

    def nodes(self) -> list[Node]:
        """All nodes that can be found."""
        return [node for root in self.cache._tree.roots.values() for node in nodes_below(root)]

    def check(self) -> None:
        """Every invariant, and: the observer believes what is in the tree."""
        super().check()
        size, stored = self.config.block_size, {}
        for node in self.nodes():
            for number, start in enumerate(range(node.start, node.ready, size)):
                end = min(start + size, node.ready)
                tokens = node.tokens(start, end)
                stored[int(node.blocks[number])] = (node.root.key, start, tokens)
        assert self.observer.stored == stored


def machine(blocks: int = 64, size: int = 4, ghosts: float = 4.0) -> Machine:
    """A cache with blocks of four tokens."""
    return Machine(CacheConfig(num_blocks=blocks, block_size=size, ghost_ratio=ghosts))


def match(m: HashMachine, ids: list[int], namespace: Namespace = SPACE) -> tuple[int, int, int]:
    """What a look-up finds: cached, in flight and evicted tokens."""
    found = m.cache.match(namespace, pack_tokens(ids))
    return found.cached, found.in_flight, found.evicted


def reason(request: Running) -> HitEnd:
    assert request.ledger.hit_end is not None
    return request.ledger.hit_end


def run_ids(start: int, count: int) -> list[int]:
    return list(range(start, start + count))
