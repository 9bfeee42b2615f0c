"""The machine whose KV are hashes, which also looks into the cache's tree; and shorthands for tests."""

from foreword.account import HitEnd
from foreword.cache import CacheConfig, Namespace, PrivatePart, pack_tokens, unpack_tokens
from foreword.cache.reservation import Hold
from foreword.cache.tree import Node
from foreword.testing.hash_kv import SPACE, HashMachine, Running


class Machine(HashMachine):
    """Looks into the tree."""

    def nodes(self) -> list[Node]:
        """All nodes that can be found."""
        return self.cache.parts.nodes()

    def hold(self, request: Running) -> Hold:
        """What the cache notes of a running request."""
        return self.cache.parts.holds[request.reservation]

    def check(self) -> None:
        """Every invariant, and: the observer believes what is in the tree."""
        super().check()
        size, stored = self.config.block_size, {}
        for node in self.nodes():
            door = node.door
            whose = (None, 0) if door is None else (door.owner, door.start)
            for number, start in enumerate(range(node.start, node.ready, size)):
                end = min(start + size, node.ready)
                tokens = node.tokens(start, end)
                stored[int(node.blocks[number])] = (node.root.key, start, tokens, *whose)
        assert self.observer.stored == stored

    def whole_paths(self) -> list[tuple[int, ...]]:
        """The token ids of every readable whole block with all before it, sorted; not whose they are."""
        size, found = self.config.block_size, []
        for node in self.nodes():
            way, above = node.tokens(node.start, node.ready), node.parent
            while above is not None:
                way, above = above.edge.tobytes() + way, above.parent
            ids = tuple(unpack_tokens(way))
            found += [ids[:end] for end in range(node.start + size, node.ready + 1, size)]
        return sorted(found)


def machine(blocks: int = 64, size: int = 4, ghosts: float = 4.0) -> Machine:
    """A cache with blocks of four tokens."""
    return Machine(CacheConfig(num_blocks=blocks, block_size=size, ghost_ratio=ghosts))


def match(
    m: HashMachine, ids: list[int], namespace: Namespace = SPACE, private: PrivatePart | None = None
) -> tuple[int, int, int]:
    """What a look-up finds: cached, in flight and evicted tokens."""
    found = m.cache.match(namespace, pack_tokens(ids), private)
    return found.cached, found.in_flight, found.evicted


def reason(request: Running) -> HitEnd:
    assert request.ledger.hit_end is not None
    return request.ledger.hit_end


def run_ids(start: int, count: int) -> list[int]:
    return list(range(start, start + count))
