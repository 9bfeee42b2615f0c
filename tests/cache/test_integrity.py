"""Each invariant is broken on purpose, and has to be named: a check that nothing can turn red checks nothing."""

import inspect
import re
from array import array
from collections.abc import Callable

import pytest

from cache.harness import Machine
from foreword.cache import CacheConfig, LoadBlocks, Mark, PrivatePart, integrity
from foreword.cache.tree import NO_BLOCKS, Node, child_key
from foreword.errors import IntegrityError
from foreword.testing.hash_kv import SPACE, Running
from foreword.tokens import TOKEN_BYTES


class Scene:
    """A cache with every kind of node: shared, in flight, evicted in part, wholly a ghost, with an open end."""

    def __init__(self) -> None:
        self.machine = m = Machine(CacheConfig(num_blocks=18, block_size=4))
        for start in (0, 100, 200):
            m.run(list(range(start, start + 30)), marks=[Mark(6, 1e6)] if start == 200 else [])
        self.request: Running = m.must_start([*range(200, 212), *range(300, 313)])
        m.step(5)
        m.check()
        nodes = m.nodes()
        self.ghost = next(node for node in nodes if node.backed == node.start)
        self.flying = next(node for node in nodes if node.start < node.ready < node.end)
        self.shared = next(node for node in nodes if node.start == 0 and node.holders)
        self.idle = next(node for node in nodes if not node.holders and node.end > node.backed > node.start)
        parts = m.cache.parts
        self.residency, self.pool, self.marked = parts.residency, parts.pool, parts.marked
        self.transfers = parts.transfers
        self.hold = parts.holds[self.request.reservation]
        (self.prefix,) = parts.marked_prefixes()

    @property
    def parent(self) -> Node:
        assert self.flying.parent is not None
        return self.flying.parent


def set_to(name: str, value: object) -> Callable[[object], None]:
    return lambda thing: setattr(thing, name, value)


def add(name: str, by: int) -> Callable[[object], None]:
    return lambda thing: setattr(thing, name, getattr(thing, name) + by)


def shift(node: Node, by: int) -> None:
    for name in ("start", "ready", "planned", "backed", "stored", "end"):
        setattr(node, name, getattr(node, name) + by)


def make_unready(node: Node) -> None:
    node.ready -= 1


def own_twice(scene: Scene) -> None:
    scene.idle.blocks[0] = scene.shared.blocks[0]


def lose_block(scene: Scene) -> None:
    scene.pool.capacity += 1


def forget_queue(scene: Scene) -> None:
    scene.idle.ticket = -1


def swap_table(scene: Scene) -> None:
    blocks = scene.hold.blocks
    scene.hold.blocks = blocks[1::-1] + blocks[2:]


def detach_key(scene: Scene) -> None:
    parent = scene.parent
    key, node = next(iter(parent.children.items()))
    parent.children[key[:-4] + b"\xff\0\0\0"] = node
    del parent.children[key]
    parent.resident = sorted(k for k, child in parent.children.items() if child.backed > child.start)


def take_root_key(scene: Scene) -> None:
    root = scene.shared.root
    root.resident.pop()


CORRUPTIONS: list[tuple[str, Callable[[Scene], object]]] = [
    ("an edge has tokens", lambda s: set_to("edge", memoryview(b""))(s.idle)),
    ("an edge begins where its parent ends", lambda s: shift(s.flying, 4)),
    ("an edge ends after its tokens", lambda s: add("end", 4)(s.flying)),
    ("an edge keeps no much longer text", lambda s: keep_text(s.idle)),
    ("an open end has no children", lambda s: s.flying.children.update({b"": s.idle})),
    ("an open end has its block", lambda s: add("backed", -1)(s.flying)),
    ("start ≤ ready ≤ planned ≤ backed ≤ end", lambda s: set_to("planned", 0)(s.flying)),
    ("an edge is backed as far as it has blocks", lambda s: set_to("blocks", s.flying.blocks[:-1])(s.flying)),
    ("no more blocks than tokens", lambda s: set_to("blocks", array("i", range(99)))(s.shared)),
    ("a parent has all blocks", lambda s: cut(s.parent)),
    ("a parent is wholly ready", lambda s: make_unready(s.parent)),
    ("what is held has its blocks", lambda s: set_to("holders", 1)(s.ghost)),
    ("what nobody holds is not in flight", lambda s: make_unready(s.idle)),
    ("the list of children with blocks", take_root_key),
    ("a child stands under its key", detach_key),
    ("a door is below no other", lambda s: below_a_door(s)),
    ("a door, and nothing else, stands under an owner's key", lambda s: call_a_door(s)),
    ("holders are counted", lambda s: add("holders", 1)(s.shared)),
    ("holders are counted", lambda s: add("holders", 1)(s.shared.root)),
    ("a transfer holds the path to its end", lambda s: hold_elsewhere(s)),
    ("start ≤ stored ≤ end", lambda s: add("stored", -1)(s.shared)),
    ("what is loaded is under way", lambda s: set_to("load", load(s, s.flying.end))(s.flying)),
    ("a load ends where an edge ends", lambda s: load_too_little(s)),
    ("what is held is in a tree", lambda s: hold_stranger(s)),
    ("a block has one owner", own_twice),
    ("every block is free, cached or held", lose_block),
    ("unheld blocks are counted", lambda s: add("unheld_blocks", 1)(s.residency)),
    ("ghost tokens are counted", lambda s: add("ghost_tokens", 4)(s.residency)),
    ("ghosts are listed", lambda s: s.residency.ghosts.pop(s.ghost)),
    ("ghosts are listed", lambda s: s.residency.ghosts.update({s.shared: 0.0})),
    ("evictable leaves are queued, marked ones apart", forget_queue),
    ("evictable leaves are queued, marked ones apart", lambda s: add("marks", 1)(s.idle)),
    ("listed ghosts are in a tree", lambda s: s.residency.ghosts.update({stranger(): 0.0})),
    ("nodes are counted", lambda s: add("node_count", 1)(s.residency.tree)),
    ("the shared part ends at the held node", lambda s: add("shared_end", 4)(s.hold)),
    ("the block table follows the path", swap_table),
    ("a mark keeps its anchor or a child of it", lambda s: set_to("kept", s.flying)(s.prefix)),
    ("what a mark keeps has blocks", lambda s: mark_elsewhere(s, s.ghost)),
    ("a mark keeps its own tokens", lambda s: set_to("rest", b"\0" * 8)(s.prefix)),
    ("a mark ends with its rest", lambda s: add("position", 1)(s.prefix)),
    ("the marks on a node are counted", lambda s: add("marks", 1)(s.shared)),
    ("what is marked is in a tree", lambda s: mark_elsewhere(s, marked_stranger())),
    ("marked blocks are counted", lambda s: add("blocks", 1)(s.marked)),
    ("tokens have a source in the books", lambda s: add("high", 1)(s.request.ledger)),
]


def cut(node: Node) -> None:
    node.blocks = node.blocks[:-1]
    node.backed = node.ready = node.planned = node.backed - 4
    node.holders = 0


def mark_elsewhere(scene: Scene, node: Node) -> None:
    scene.prefix.anchor = scene.prefix.kept = node
    scene.prefix.rest, scene.prefix.position = b"", node.end


def marked_stranger() -> Node:
    node = stranger()
    node.blocks, node.marks = array("i", [0]), 1
    return node


def below_a_door(scene: Scene) -> None:
    scene.parent.private = PrivatePart(scene.parent.start, "other")
    take_key(scene.parent)
    scene.flying.private = PrivatePart(scene.flying.start, "owner")
    take_key(scene.flying)


def call_a_door(scene: Scene) -> None:
    """It stands under its key; that it says to be everyone's is the fault."""
    node = scene.idle
    node.private = PrivatePart(node.end, "owner")


def take_key(node: Node) -> None:
    """Let a node stand under the key that it should have."""
    assert node.parent is not None
    siblings = node.parent.children
    del siblings[node.key]
    node.key = child_key(node.tokens(node.start, node.start + 4), node.start, node.private)
    siblings[node.key] = node
    node.parent.resident = sorted(key for key, child in siblings.items() if child.backed > child.start)


def keep_text(node: Node) -> None:
    node.edge = memoryview(node.edge.tobytes() * 5)[: len(node.edge)]


def stranger() -> Node:
    return Node(None, b"\0" * 16, memoryview(b"\0" * 16), 0, NO_BLOCKS)


def hold_stranger(scene: Scene) -> None:
    """The held node is replaced in the tree by a twin that the reservation does not know."""
    scene.machine.complete()
    node = scene.hold.node
    assert node is not None
    assert node.parent is not None
    twin = Node(node.parent, node.key, node.edge, node.start, node.blocks)
    twin.ready = twin.planned = node.backed
    node.parent.children[node.key] = twin
    twin.holders = 0
    scene.residency.unheld_blocks += len(twin.blocks)


def load(scene: Scene, until: int) -> LoadBlocks:
    """Of the flying edge's tokens before a position."""
    return LoadBlocks(SPACE, None, bytes(until * TOKEN_BYTES), scene.flying.start, NO_BLOCKS, ())


def hold_elsewhere(scene: Scene) -> None:
    scene.residency.hold(scene.flying)
    scene.transfers.held[load(scene, 4)] = scene.flying


def load_too_little(scene: Scene) -> None:
    scene.residency.hold(scene.parent)
    scene.flying.load = load(scene, scene.parent.end)
    scene.transfers.held[scene.flying.load] = scene.parent


@pytest.mark.parametrize(("invariant", "corrupt"), CORRUPTIONS, ids=[name for name, _ in CORRUPTIONS])
def test_a_broken_invariant_is_named(invariant: str, corrupt: Callable[[Scene], object]) -> None:
    scene = Scene()
    corrupt(scene)
    with pytest.raises(IntegrityError, match=invariant):
        scene.machine.cache.check_integrity()


def test_every_invariant_is_broken_above() -> None:
    """A new invariant in integrity.py needs a corruption here."""
    named = set(re.findall(r'_check\((?!condition)[^"]*"([^"]+)"', inspect.getsource(integrity)))
    assert len(named) > 20
    assert named <= {name for name, _ in CORRUPTIONS}
