"""Every invariant of the cache, each with a name, checked by walking over everything."""

from collections import Counter

from foreword.cache.eviction import is_evictable
from foreword.cache.inspection import CacheParts
from foreword.cache.marked_paths import MarkedPaths
from foreword.cache.pool import BlockPool
from foreword.cache.reservation import Hold
from foreword.cache.residency import Residency, nodes_below
from foreword.cache.transfers import Transfers
from foreword.cache.tree import TEXT_SLACK, Node, Root, child_key, key_tokens
from foreword.errors import IntegrityError
from foreword.tokens import NO_TOKEN, TOKEN_BYTES


def _check(condition: bool, invariant: str, detail: object) -> None:
    if not condition:
        raise IntegrityError(f"Cache invariant broken: {invariant} ({detail}).")


def check_parts(parts: CacheParts) -> None:
    """Raise IntegrityError naming the first invariant that does not hold."""
    roots, pool, residency, block_size = parts.roots(), parts.pool, parts.residency, parts.tree.block_size
    live = list(parts.holds.values())
    nodes = [node for root in roots for node in nodes_below(root)]
    for node in nodes:
        _check_node(node, block_size)
    for node in [*roots, *nodes]:
        _check_children(node, block_size)
    _check_holders(roots, nodes, [*(hold.node for hold in live), *parts.transfers.held.values()])
    _check_transfers(nodes, parts.transfers)
    _check_blocks(nodes, pool, live)
    _check_books(nodes, residency)
    _check_marks([*roots, *nodes], parts.marked)
    for hold in live:
        _check_hold(hold, block_size)
        hold.ledger.account()


def _check_node(node: Node, size: int) -> None:
    parent = node.parent
    assert parent is not None
    length, open_end, text = len(node.edge) // TOKEN_BYTES, node.end % size > 0, node.edge.obj
    assert isinstance(text, bytes)
    _check(length > 0, "an edge has tokens", node.start)
    _check(node.start == parent.end, "an edge begins where its parent ends", node.start)
    _check(node.end == node.start + length, "an edge ends after its tokens", (node.start, node.end, length))
    _check(len(text) <= TEXT_SLACK * len(node.edge), "an edge keeps no much longer text", (len(text), len(node.edge)))
    _check(not (open_end and node.children), "an open end has no children", node.start)
    _check(not open_end or node.backed == node.end, "an open end has its block", node.start)
    order = (node.start, node.ready, node.planned, node.backed, node.end)
    _check(list(order) == sorted(order), "start ≤ ready ≤ planned ≤ backed ≤ end", order)
    backed = min(node.start + len(node.blocks) * size, node.end)
    _check(node.backed == backed, "an edge is backed as far as it has blocks", (node.backed, backed))
    _check(len(node.blocks) <= -(-length // size), "no more blocks than tokens", node.start)
    _check(node.backed == node.start or parent.backed == parent.end, "a parent has all blocks", node.start)
    _check(node.ready == node.start or parent.ready == parent.end, "a parent is wholly ready", node.start)
    _check(node.holders == 0 or node.backed == node.end, "what is held has its blocks", node.start)
    _check(node.holders > 0 or node.ready == node.backed, "what nobody holds is not in flight", node.start)


def _check_children(node: Node, size: int) -> None:
    keys = sorted(key for key, child in node.children.items() if child.backed > child.start)
    _check(keys == node.resident, "the list of children with blocks", node.start)
    for key, child in node.children.items():
        first = child.tokens(child.start, child.start + size)
        stands = child.parent is node and child_key(first, child.start, child.private) == key == child.key
        _check(stands, "a child stands under its key", node.start)
        door = child.private is not None
        _check(not door or node.door is None, "a door is below no other", child.start)
        _check(door == (NO_TOKEN in key), "a door, and nothing else, stands under an owner's key", child.start)


def _check_holders(roots: list[Root], nodes: list[Node], held: list[Node | None]) -> None:
    expected: Counter[Node] = Counter()
    for node in held:
        while node is not None:
            expected[node] += 1
            node = node.parent
    for node in [*roots, *nodes]:
        _check(node.holders == expected[node], "holders are counted", (node.start, node.holders, expected[node]))
    _check(set(expected) <= {*roots, *nodes}, "what is held is in a tree", len(expected))


def _check_transfers(nodes: list[Node], transfers: Transfers) -> None:
    for transfer, node in transfers.held.items():
        _check(node.end == transfer.until, "a transfer holds the path to its end", (node.end, transfer.until))
    for node in nodes:
        order = (node.start, node.stored, node.end)
        _check(list(order) == sorted(order), "start ≤ stored ≤ end", order)
        _check(node.load is None or node.load in transfers.held, "what is loaded is under way", node.start)
        _check(node.load is None or node.end <= node.load.until, "a load ends where an edge ends", node.end)


def _check_blocks(nodes: list[Node], pool: BlockPool, live: list[Hold]) -> None:
    owned = [*pool.free_blocks(), *sorted(pool.limbo_blocks())]
    for node in nodes:
        owned += node.blocks
    cached = {block for node in nodes for block in node.blocks}
    for hold in live:
        owned += [block for block in hold.blocks if block not in cached]
    twice = [block for block, count in Counter(owned).items() if count > 1]
    _check(not twice, "a block has one owner", twice[:8])
    _check(len(owned) == pool.capacity, "every block is free, cached or held", (len(owned), pool.capacity))


def _check_books(nodes: list[Node], residency: Residency) -> None:
    unheld = sum(len(node.blocks) for node in nodes if node.holders == 0)
    _check(unheld == residency.unheld_blocks, "unheld blocks are counted", (residency.unheld_blocks, unheld))
    ghosts = sum(node.end - node.backed for node in nodes)
    _check(ghosts == residency.ghost_tokens, "ghost tokens are counted", (residency.ghost_tokens, ghosts))
    queued, marked = residency.queue.nodes(), residency.queue.marked_nodes()
    for node in nodes:
        _check((node.backed < node.end) == (node in residency.ghosts), "ghosts are listed", node.start)
        right = marked if node.marks else queued
        _check(not is_evictable(node) or node in right, "evictable leaves are queued, marked ones apart", node.start)
    _check(set(residency.ghosts) <= set(nodes), "listed ghosts are in a tree", len(residency.ghosts))
    _check(len(nodes) == residency.tree.node_count, "nodes are counted", (residency.tree.node_count, len(nodes)))


def _check_marks(nodes: list[Node], marks: MarkedPaths) -> None:
    expected = Counter[Node]()
    for prefix in marks:
        anchor, kept, at = prefix.anchor, prefix.kept, prefix.position
        own = kept is anchor or kept.key.startswith(prefix.rest)
        _check(kept is anchor or kept.parent is anchor, "a mark keeps its anchor or a child of it", at)
        _check(own, "a mark keeps its own tokens", at)
        _check(len(kept.blocks) > 0 or kept.parent is None, "what a mark keeps has blocks", at)
        _check(at == anchor.end + key_tokens(prefix.rest), "a mark ends with its rest", at)
        node: Node | None = kept
        while node is not None:
            expected[node] += 1
            node = node.parent
    _check(set(expected) <= set(nodes), "what is marked is in a tree", len(expected))
    for node in nodes:
        _check(node.marks == expected[node], "the marks on a node are counted", (node.start, node.marks, expected[node]))
    blocks = sum(len(node.blocks) for node in expected)
    _check(blocks == marks.blocks, "marked blocks are counted", (marks.blocks, blocks))


def _check_hold(hold: Hold, size: int) -> None:
    node = hold.node
    if node is None:
        return
    _check(node.end == hold.shared_end, "the shared part ends at the held node", node.end)
    current: Node = node
    while current.parent is not None:
        at = current.start // size
        table = hold.blocks[at : at + len(current.blocks)]
        _check(table == current.blocks, "the block table follows the path", current.start)
        current = current.parent
