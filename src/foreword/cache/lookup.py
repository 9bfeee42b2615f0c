"""Where a prompt meets the tree, and why no later: the look-up and its explanation. Nothing here changes anything."""

from collections.abc import Iterable
from dataclasses import dataclass

from foreword.account import HitEnd, MissReason
from foreword.cache.namespace import Namespace
from foreword.cache.tree import Node, RadixTree, Root, backed_end, ready_end
from foreword.tokens import TOKEN_BYTES

NEAREST_TOKENS = 16


@dataclass(slots=True)
class Lookup:
    """Where a prompt meets the tree; all numbers are tokens.

    The first ``aligned`` tokens of the prompt, whole blocks, end on the edge of ``node``; those from ``backed`` on, also
    whole blocks, are a ghost. ``source`` is the nearest edge with blocks that goes on from ``backed``; of its next block
    ``partial`` tokens can be reused by copying. ``whole``: there is nothing of the prompt that the tree does not have.
    ``cached`` tokens are readable now, up to ``reach`` they have blocks, up to ``seen`` the tree knows the prompt, ghosts
    included.
    """

    node: Node
    aligned: int
    backed: int
    source: Node | None
    partial: int
    whole: bool
    cached: int
    reach: int
    seen: int


def locate(tree: RadixTree, root: Root, tokens: bytes) -> Lookup:
    """Where a prompt of at least one token meets the tree."""
    size, last = tree.block_size, len(tokens) // TOKEN_BYTES - 1
    node, end = tree.walk(root, tokens)
    reach = backed_end(node)
    aligned = end // size * size
    if last < aligned <= reach:
        aligned -= size  # the last token has to be computed, in a block of the request's own
    while node.start >= aligned and node.parent is not None:
        node = node.parent
    backed, above = aligned, node
    if reach < aligned:
        backed = reach
        while above.end > backed and above.parent is not None:
            above = above.parent
    source, common = None, 0
    if above.end == backed:
        source, common = tree.nearest(above, tokens[backed * TOKEN_BYTES : backed * TOKEN_BYTES + tree.width])
        if backed < aligned and source is not None:
            common = min(common, source.ready - backed)  # where a ghost goes on, nothing is waited for
    elif above.backed > backed:
        source, common = above, end - backed
    whole = aligned + (common if backed == aligned else 0) > last
    partial = common if common < last - backed else last - backed
    reach = backed + partial
    ready = ready_end(node)
    cached = ready if ready < backed else backed
    if partial and cached == backed and source is not None and source.ready >= reach:
        cached = reach
    return Lookup(node, aligned, backed, source, partial, whole, cached, reach, min(end, last))


def explain(tree: RadixTree, place: Lookup, tokens: bytes, namespace: Namespace, others: Iterable[Namespace]) -> HitEnd:
    """Why the hit of a new request ended where it did; ``others`` are the namespaces to look into."""
    end = place.reach
    if end == len(tokens) // TOKEN_BYTES - 1:
        return HitEnd(MissReason.COMPLETE, end)
    if place.seen > end:
        return HitEnd(MissReason.EVICTED, end, lost_tokens=place.seen - end)
    other, longer = _longest_elsewhere(tree, tokens, others, end)
    if other is not None:
        differs = namespace.differs_in(other)
        return HitEnd(MissReason.NAMESPACE_DIFFERS, end, lost_tokens=longer - end, differs_in=differs)
    if end and place.source is not None:
        nearest = place.source.tokens(end, end + NEAREST_TOKENS)
        if nearest:
            return HitEnd(MissReason.DIVERGED, end, nearest)
    return HitEnd(MissReason.FIRST_SEEN, end)


def _longest_elsewhere(
    tree: RadixTree, tokens: bytes, others: Iterable[Namespace], longest: int
) -> tuple[Namespace | None, int]:
    """The namespace that holds the longest readable prefix of the prompt, if longer than ``longest``."""
    best = None
    for other in others:
        root = tree.roots[other.key]
        if root.resident:
            cached = locate(tree, root, tokens).cached
            if cached > longest:
                best, longest = other, cached
    return best, longest
