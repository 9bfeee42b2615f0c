"""Which prefixes are prominent, in constant memory: a sketch of the tree of all prompts.

A radix tree over the prompts' tokens with a counter at every node, bounded in nodes and in tokens. When it is full the node
that stands for the fewest requests goes: a leaf, or a node with one child, whose edge the child then takes over. What was
forgotten is remembered as an error, so that the true number of requests of any prefix is at least ``requests`` and at
most ``requests + error``. With m nodes and N requests no error exceeds 2 N / m, unless the bound on tokens binds first.
(Space-saving after Metwally, Agrawal and El Abbadi, ICDT 2005, on a tree in place of a list.)
"""

import heapq
from dataclasses import dataclass, field

from foreword.tokens import TOKEN_BYTES, shared_from

MAX_TENANTS = 8  # names kept at a node


@dataclass(frozen=True, slots=True)
class Prefix:
    """One edge of the tree of prompts: tokens ``start`` to ``end`` of all prompts that begin with the same ``end`` tokens.

    number, parent
        Names of this edge and of the one before it; ``parent`` is None at the beginning of a prompt.
    tokens
        The packed tokens of the edge.
    requests, error
        How many requests had this prefix: at least ``requests``, at most ``requests + error``.
    hits
        Requests that found all of the prefix in the cache or in flight.
    saved_tokens, saved_work
        Tokens of this edge that were not computed, and the sum of their positions (see savings.py).
    tenants
        Up to eight of those who asked.
    last_use
        Seconds of the engine's clock.
    """

    number: int
    parent: int | None
    namespace: bytes
    start: int
    end: int
    tokens: bytes
    requests: int
    error: int
    hits: int
    saved_tokens: int
    saved_work: int
    tenants: tuple[str, ...]
    last_use: float


@dataclass(slots=True, eq=False)
class _Node:
    parent: "_Node | None"
    number: int
    namespace: bytes
    tokens: bytes
    start: int
    end: int
    error: int = 0
    lost: int = 0  # the largest number of requests that a forgotten child may have had
    requests: int = 0
    hits: int = 0
    saved_tokens: int = 0
    saved_work: int = 0
    last_use: float = 0.0
    tenants: set[str] = field(default_factory=set)
    children: dict[bytes, "_Node"] = field(default_factory=dict)
    gone: bool = False
    owner: bytes = b""  # of the first edge of a private part: whose it is

    @property
    def key(self) -> bytes:
        """Under which its parent finds it."""
        return self.tokens[:TOKEN_BYTES] + self.owner

    @property
    def joins(self) -> bool:
        """Whether its only child, if it has one, can take over its edge: not what is one owner's what is everyone's."""
        return len(self.children) <= 1 and not any(child.owner for child in self.children.values())

    def stands_for(self) -> int:
        """How many requests, at most, are forgotten with this node; it has at most one child."""
        return self.requests + self.error - sum(child.requests for child in self.children.values())


class PrefixSketch:
    """The tree of prominent prefixes of at most ``max_nodes`` edges and ``max_tokens`` tokens in all."""

    def __init__(self, max_nodes: int = 4096, max_tokens: int = 2_000_000):
        self.max_nodes = max_nodes
        self.max_tokens = max_tokens
        self.nodes = 0
        self.tokens = 0
        self._roots: dict[bytes, _Node] = {}
        self._numbers = 0
        self._weakest: list[tuple[int, int, _Node]] = []  # a heap of what may go; an entry can be out of date

    @property
    def candidates(self) -> int:
        """Entries of the heap of nodes that may go, those out of date included."""
        return len(self._weakest)

    def match(self, namespace: bytes, tokens: bytes) -> int:
        """How many leading tokens of a prompt the tree knows."""
        return self._walk(namespace, tokens)[1]

    def edge_of(self, namespace: bytes, tokens: bytes) -> int | None:
        """The number of the edge on which the last of a prompt's tokens lies; None if the tree does not know them all."""
        node, known = self._walk(namespace, tokens)
        return node.number if node is not None and node.parent is not None and known * TOKEN_BYTES == len(tokens) else None

    def observe(
        self,
        namespace: bytes,
        tokens: bytes,
        cached: int = 0,
        now: float = 0.0,
        tenant: str | None = None,
        door: tuple[int, str] | None = None,
    ) -> None:
        """Count a request with this prompt (packed), of which the first ``cached`` tokens were not computed.

        ``door``: the position from which the prompt is one owner's alone, and whose.
        """
        node = self._roots.get(namespace)
        if node is None:
            node = self._roots[namespace] = self._new(None, namespace, b"", 0)
            self._offer(node)
        at, numbers = 0, self._numbers
        limit = len(tokens) if door is None else min(door[0] * TOKEN_BYTES, len(tokens))
        owner = b"" if door is None else door[1].encode("utf-8", "surrogatepass")
        self._count(node, cached, now, tenant)
        while at < len(tokens):
            end = limit if at < limit else len(tokens)
            theirs = owner if at == limit else b""
            child = node.children.get(tokens[at : at + TOKEN_BYTES] + theirs)
            if child is None:
                child = self._new(node, namespace, tokens[at:end], node.end, theirs)
                child.error = node.lost
            elif len(child.tokens) > end - at or not tokens.startswith(child.tokens, at):
                shared = min(shared_from(tokens, at, child.tokens), (end - at) // TOKEN_BYTES)
                child = self._split(child, child.start + shared)
            self._count(child, cached, now, tenant)
            at += len(child.tokens)
            node = child
        if node.number > numbers:  # it is new; an old one stands where it was offered before
            self._offer(node)
        while self.nodes > self.max_nodes or self.tokens > self.max_tokens:
            self._forget_weakest()

    def snapshot(self, limit: int = 200) -> tuple[Prefix, ...]:
        """The edges with the most tokens times requests, and the way to them, parents first."""
        every = [node for root in self._roots.values() for node in _below(root)]
        every.sort(key=lambda node: (node.end - node.start) * node.requests, reverse=True)
        chosen: set[_Node] = set()
        for node in every[:limit]:
            current: _Node | None = node
            while current is not None and current.parent is not None and current not in chosen:
                chosen.add(current)
                current = current.parent
        return tuple(_frozen(node) for root in self._roots.values() for node in _below(root) if node in chosen)

    def _walk(self, namespace: bytes, tokens: bytes) -> tuple[_Node | None, int]:
        """The last node on a prompt's way, and how many of its leading tokens the tree knows."""
        node, at = self._roots.get(namespace), 0
        while node is not None and (child := node.children.get(tokens[at : at + TOKEN_BYTES])) is not None:
            at += TOKEN_BYTES * shared_from(tokens, at, child.tokens)
            node = child
            if at < child.end * TOKEN_BYTES:
                break
        return node, at // TOKEN_BYTES

    def _count(self, node: _Node, cached: int, now: float, tenant: str | None) -> None:
        node.requests += 1
        node.last_use = now
        if tenant is not None and len(node.tenants) < MAX_TENANTS:
            node.tenants.add(tenant)
        if cached > node.start:
            end = min(cached, node.end)
            node.saved_tokens += end - node.start
            node.saved_work += (end * (end - 1) - node.start * (node.start - 1)) // 2
            node.hits += end == node.end

    def _new(self, parent: _Node | None, namespace: bytes, tokens: bytes, start: int, owner: bytes = b"") -> _Node:
        self._numbers += 1
        self.nodes += 1
        self.tokens += len(tokens) // TOKEN_BYTES
        node = _Node(parent, self._numbers, namespace, tokens, start, start + len(tokens) // TOKEN_BYTES)
        node.owner = owner
        if parent is not None:
            parent.children[node.key] = node
        return node

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut an edge in two; returns the upper one. What was saved is divided where the cut is."""
        parent, cut = node.parent, (at - node.start) * TOKEN_BYTES
        assert parent is not None
        upper = self._new(parent, node.namespace, node.tokens[:cut], node.start, node.owner)
        self.tokens -= at - node.start
        upper.requests, upper.hits, upper.last_use = node.requests, node.hits, node.last_use
        upper.error = upper.lost = node.error
        upper.tenants = set(node.tenants)
        share = (at - node.start) / (node.end - node.start)
        upper.saved_tokens = round(node.saved_tokens * share)
        upper.saved_work = round(node.saved_work * share)
        node.saved_tokens -= upper.saved_tokens
        node.saved_work -= upper.saved_work
        node.parent, node.start, node.tokens, node.owner = upper, at, node.tokens[cut:], b""
        upper.children[node.key] = node
        return upper

    def _offer(self, node: _Node) -> None:
        """Enter a node among those that may go, if it is one."""
        if node.joins and not node.gone:
            heapq.heappush(self._weakest, (node.stands_for(), node.number, node))
            if len(self._weakest) > 8 * self.max_nodes:
                self._weakest = []
                for root in self._roots.values():
                    for each in (root, *_below(root)):
                        self._offer(each)

    def _forget_weakest(self) -> None:
        """Forget the node that stands for the fewest requests."""
        while True:
            cost, _, node = heapq.heappop(self._weakest)
            if node.gone or not node.joins or (node.parent is None and node.children):
                continue
            if node.stands_for() > cost:
                self._offer(node)
                continue
            break
        node.gone = True
        self.nodes -= 1
        if node.parent is None:
            del self._roots[node.namespace]
            return
        if node.children:
            self._join(node, next(iter(node.children.values())))
            return
        self.tokens -= node.end - node.start
        del node.parent.children[node.key]
        node.parent.lost = max(node.parent.lost, node.requests + node.error)
        self._offer(node.parent)

    def _join(self, node: _Node, child: _Node) -> None:
        """The only child takes over the edge of a node that goes."""
        assert node.parent is not None
        node.parent.children[node.key] = child
        child.parent, child.start, child.owner = node.parent, node.start, node.owner
        child.tokens = node.tokens + child.tokens
        child.error = max(child.error, node.requests + node.error - child.requests)
        child.saved_tokens += node.saved_tokens
        child.saved_work += node.saved_work
        child.tenants |= node.tenants
        self._offer(child)


def _below(root: _Node) -> list[_Node]:
    """All nodes under a root, parents before children."""
    found: list[_Node] = []
    stack = list(root.children.values())
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(node.children.values())
    return found


def _frozen(node: _Node) -> Prefix:
    assert node.parent is not None
    return Prefix(
        number=node.number,
        parent=node.parent.number if node.parent.parent is not None else None,
        namespace=node.namespace,
        start=node.start,
        end=node.end,
        tokens=node.tokens,
        requests=node.requests,
        error=node.error,
        hits=node.hits,
        saved_tokens=node.saved_tokens,
        saved_work=node.saved_work,
        tenants=tuple(sorted(node.tenants)),
        last_use=node.last_use,
    )
