"""A prefix tree over packed tokens for logs: what was seen, by whom last, and until when a provider would keep it.

It holds no KV and no blocks, so its edges may end anywhere. Memory is bounded: beyond ``max_tokens`` (4 bytes each; a node
counts as NODE_BYTES more) the leaves that were not used for longest are forgotten, and counted.
"""

import heapq
import math
from dataclasses import dataclass

from foreword.tokens import TOKEN_BYTES, shared_from

NODE_BYTES = 400
"""About what a node takes in memory beside the tokens of its edge."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a prompt found, in tokens from its beginning.

    ``seen`` ⊇ ``kept`` (not expired) ⊇ ``readable`` (the request that computes it has begun to answer).
    ``nearest`` is the number of the last request that shares all of ``seen``; None when nothing is shared.
    """

    seen: int
    kept: int
    readable: int
    nearest: int | None


class _Node:
    __slots__ = ("children", "edge", "last", "parent", "ready", "until")

    def __init__(self, parent: "_Node | None", edge: bytes, last: int, until: float, ready: float):
        self.parent = parent
        self.edge = edge
        self.last = last  # number of the last request through it
        self.until = until  # when it expires
        self.ready = ready  # from when it can be read
        self.children: dict[bytes, _Node] = {}


class PrefixTree:
    """One tree for each cache name."""

    def __init__(self, max_tokens: int):
        self.max_bytes = max_tokens * TOKEN_BYTES
        self.forgotten_tokens = 0
        self.size = 0  # bytes of all edges and nodes
        self._roots: dict[str, _Node] = {}

    def visit(self, name: str, tokens: bytes, number: int, now: float, until: float, ready: float) -> Visit:
        """Look a prompt up, then enter it. ``number`` ascends from request to request; times are of the log's clock."""
        root = self._roots.get(name)
        if root is None:
            root = self._roots[name] = _Node(None, b"", number, math.inf, -math.inf)
        node, at, kept, readable, nearest = root, 0, -1, -1, None
        total = len(tokens)
        while at < total:
            child = node.children.get(tokens[at : at + TOKEN_BYTES])
            if child is None:
                break
            nearest = child.last
            if kept < 0 and child.until < now:
                kept = at
            if readable < 0 and (kept >= 0 or child.ready > now):
                readable = at
            if not tokens.startswith(child.edge, at):
                child = self._split(child, TOKEN_BYTES * shared_from(tokens, at, child.edge))
            at += len(child.edge)
            if child.until < now:
                child.ready = ready  # computed anew
            child.until = max(child.until, until)
            child.last = number
            node = child
        if at < total:
            leaf = _Node(node, tokens[at:], number, until, ready)
            node.children[tokens[at : at + TOKEN_BYTES]] = leaf
            self.size += total - at + NODE_BYTES
            if self.size > self.max_bytes:
                self._forget()
        seen = at // TOKEN_BYTES
        kept = seen if kept < 0 else kept // TOKEN_BYTES
        return Visit(seen, kept, min(kept, seen if readable < 0 else readable // TOKEN_BYTES), nearest)

    @property
    def names(self) -> int:
        """Cache names that something is remembered of, and those just visited."""
        return len(self._roots)

    @property
    def nodes(self) -> int:
        """Nodes below the roots."""
        return len(self._walk()) - len(self._roots)

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut an edge at a byte; returns the new upper node."""
        parent = node.parent
        assert parent is not None
        upper = _Node(parent, node.edge[:at], node.last, node.until, node.ready)
        parent.children[upper.edge[:TOKEN_BYTES]] = upper
        node.parent, node.edge = upper, node.edge[at:]
        upper.children[node.edge[:TOKEN_BYTES]] = node
        self.size += NODE_BYTES
        return upper

    def _forget(self) -> None:
        """Drop the oldest leaves until a tenth of the room is free."""
        leaves = [(node.last, id(node), node) for node in self._walk() if not node.children and node.parent is not None]
        heapq.heapify(leaves)
        while leaves and self.size > self.max_bytes * 9 // 10:
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            assert parent is not None
            del parent.children[node.edge[:TOKEN_BYTES]]
            self.size -= len(node.edge) + NODE_BYTES
            self.forgotten_tokens += len(node.edge) // TOKEN_BYTES
            if not parent.children and parent.parent is not None:
                heapq.heappush(leaves, (parent.last, id(parent), parent))
        self._roots = {name: root for name, root in self._roots.items() if root.children}

    def _walk(self) -> list[_Node]:
        found = list(self._roots.values())
        for node in found:
            found.extend(node.children.values())
        return found
