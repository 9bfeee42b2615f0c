"""The structure alone: where a walk ends, what a split leaves behind, which child is nearest."""

import random
from array import array
from typing import Any

from foreword.cache import pack_tokens
from foreword.cache.pool import BLOCK_ID, Blocks
from foreword.cache.tree import Node, RadixTree, Root, backed_end, first_unplanned, ready_end
from foreword.tokens import TOKEN_BYTES

SIZE = 4


def blocks(*ids: int) -> Blocks:
    return array(BLOCK_ID, ids)


def edge_of(*ids: int) -> memoryview:
    return memoryview(pack_tokens(ids))


def chain() -> tuple[RadixTree, Root, Node, Node]:
    """An edge of two blocks, and a stub of two tokens below it."""
    tree = RadixTree(SIZE)
    root = tree.root(b"key")
    edge = tree.attach(root, edge_of(1, 2, 3, 4, 5, 6, 7, 8), blocks(10, 11))
    stub = tree.attach(edge, edge_of(9, 9), blocks(12))
    return tree, root, edge, stub


def test_a_walk_ends_at_the_first_token_that_differs() -> None:
    tree, root, edge, stub = chain()
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 7, 8, 9, 9])) == (stub, 10)
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 1])) == (edge, 8)  # stubs: whole or by nearest
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 0, 8])) == (edge, 6)
    assert tree.walk(root, pack_tokens([1, 2, 3, 4])) == (edge, 4)
    assert tree.walk(root, pack_tokens([1, 2, 3, 0])) == (root, 0)
    assert tree.walk(root, pack_tokens([1])) == (root, 0)


def test_a_walk_may_end_in_a_leaf_with_an_open_end() -> None:
    tree = RadixTree(SIZE)
    root = tree.root(b"key")
    leaf = tree.attach(root, edge_of(1, 2, 3, 4, 5, 6), blocks(10, 11))
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 7, 8])) == (leaf, 6)
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5])) == (leaf, 5)
    upper = tree.split(leaf, 4)
    assert (upper.end, leaf.start, leaf.end, leaf.backed) == (4, 4, 6, 6)
    assert (upper.blocks.tolist(), leaf.blocks.tolist()) == ([10], [11])
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6])) == (leaf, 6)


def test_an_edge_is_a_view_of_its_text_unless_it_is_a_small_part() -> None:
    text = pack_tokens(range(40 * SIZE))
    tree = RadixTree(SIZE)
    root = tree.root(b"key")
    edge = tree.attach(root, memoryview(text), blocks(*range(40)))
    tail = tree.attach(edge, memoryview(text)[31 * SIZE * TOKEN_BYTES :], blocks(*range(40, 49)))
    assert edge.edge.obj is text
    assert (tail.edge.obj, tail.edge) == (text[31 * SIZE * TOKEN_BYTES :], memoryview(text)[31 * SIZE * TOKEN_BYTES :])
    upper = tree.split(edge, 2 * SIZE)
    assert upper.edge.obj == text[: 2 * SIZE * TOKEN_BYTES]
    assert edge.edge.obj is text
    edge.cut_edge(4 * SIZE)
    assert edge.edge.obj == pack_tokens(range(2 * SIZE, 4 * SIZE))


def test_nearest_is_the_child_with_the_longest_common_part() -> None:
    rng = random.Random(1)
    for _ in range(300):
        tree = RadixTree(SIZE)
        root = tree.root(b"key")
        keys = {tuple(rng.choices(range(3), k=rng.choice([SIZE, SIZE, 2]))) for _ in range(rng.randrange(1, 9))}
        for number, key in enumerate(keys):
            tree.attach(root, edge_of(*key), blocks(number))
        query = rng.choices(range(3), k=rng.randrange(1, SIZE + 1))
        child, common = tree.nearest(root, pack_tokens(query))
        shared = [next((i for i, (a, b) in enumerate(zip(k, query, strict=False)) if a != b), min(len(k), len(query)))
                  for k in keys]  # fmt: skip
        assert child is not None
        assert common == max(shared)


def test_nearest_sees_no_ghosts() -> None:
    tree, root, edge, _ = chain()
    tree.mark_ghost(edge)
    assert tree.nearest(root, pack_tokens([1, 2])) == (None, 0)
    tree.mark_resident(edge)
    assert tree.nearest(root, pack_tokens([1, 2])) == (edge, 2)


def test_a_split_divides_blocks_and_positions_and_keeps_holders() -> None:
    tree, root, edge, stub = chain()
    copier: Any = "copier"
    edge.ready, edge.planned, edge.holders, edge.last_use, edge.copier = 2, 6, 3, 7.0, copier
    upper = tree.split(edge, 4)
    assert (upper.start, upper.ready, upper.planned, upper.backed, upper.end) == (0, 2, 4, 4, 4)
    assert (edge.start, edge.ready, edge.planned, edge.backed, edge.end) == (4, 4, 6, 8, 8)
    assert upper.blocks.tolist() == [10]
    assert edge.blocks.tolist() == [11]
    assert (upper.holders, upper.last_use, edge.holders) == (3, 7.0, 3)
    assert (upper.copier, edge.copier) == (copier, None)  # the copy is of the first tokens
    assert (edge.parent, upper.parent, stub.parent) == (upper, root, edge)
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 7, 8, 9, 9])) == (stub, 10)
    assert tree.node_count == 3


def test_a_split_of_a_ghost_leaves_the_blocks_above() -> None:
    tree, _, edge, stub = chain()
    tree.detach(stub)
    edge.blocks, edge.backed = edge.blocks[:1], 4
    upper = tree.split(edge, 4)
    assert (upper.backed, edge.backed, len(edge.blocks)) == (4, 4, 0)
    assert upper.resident == []


def test_ends_look_through_edges_that_have_nothing() -> None:
    _, root, edge, stub = chain()
    assert (ready_end(stub), backed_end(stub), first_unplanned(stub)) == (0, 10, (0, edge))
    edge.ready = edge.planned = 3
    assert (ready_end(stub), first_unplanned(stub)) == (3, (3, edge))
    edge.ready = edge.planned = 8
    assert (ready_end(stub), first_unplanned(stub)) == (8, (8, stub))
    stub.planned = 10
    assert first_unplanned(stub) == (10, stub)
    assert stub.root is root


def test_a_detached_node_still_knows_its_position() -> None:
    tree, root, edge, stub = chain()
    tree.detach(stub)
    assert (stub.start, stub.parent, edge.children, edge.resident) == (8, edge, {}, [])
    assert tree.walk(root, pack_tokens([1, 2, 3, 4, 5, 6, 7, 8, 9, 9])) == (edge, 8)
