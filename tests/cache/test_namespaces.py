"""Which namespaces have a tree."""

from foreword.cache import ModelFingerprint, Namespace
from foreword.cache.namespaces import SWEEP_NAMESPACES, Namespaces
from foreword.cache.tree import RadixTree


def of(salt: str) -> Namespace:
    return Namespace(ModelFingerprint("tiny"), cache_salt=salt)


def test_a_namespace_has_one_root() -> None:
    namespaces = Namespaces(RadixTree(4))
    roots = [namespaces.root(of(salt)) for salt in "abc"]
    assert len(set(map(id, roots))) == len(namespaces) == 3
    assert namespaces.root(of("a")) is roots[0]


def test_empty_ones_are_swept_out_when_many_new_ones_have_come() -> None:
    tree = RadixTree(4)
    namespaces = Namespaces(tree)
    held = namespaces.root(of("held"))
    held.holders = 1
    version = tree.version
    for number in range(SWEEP_NAMESPACES):
        namespaces.root(of(str(number)))
    assert len(namespaces) == len(tree.roots) == 2
    assert tree.version > version
    assert namespaces.root(of("held")) is held


def test_after_a_clear_there_are_none() -> None:
    tree = RadixTree(4)
    namespaces = Namespaces(tree)
    root = namespaces.root(of("a"))
    namespaces.clear()
    assert len(namespaces) == len(tree.roots) == 0
    assert namespaces.root(of("a")) is not root
