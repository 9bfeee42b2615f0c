"""The look-up: where a prompt meets the tree, and why no later. Nothing here changes anything."""

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from foreword.account import HitEnd, MissReason
from foreword.cache.actions import Stored
from foreword.cache.namespace import Namespace, PrivatePart
from foreword.cache.tree import Node, RadixTree, Root, backed_end, child_key, ready_end
from foreword.tokens import TOKEN_BYTES

NEAREST_TOKENS = 16


class Query(NamedTuple):
    """What is looked up: a prompt (packed tokens) in a namespace, and from where it is its owner's alone.

    Without ``use_cache`` it neither reads nor feeds the cache. ``stored`` is what lower tiers have of it.
    """

    namespace: Namespace
    tokens: bytes
    private: PrivatePart | None = None
    use_cache: bool = True
    stored: tuple[Stored, ...] = ()

    @property
    def loadable(self) -> tuple[Stored, ...]:
        """What lower tiers have of it and is worth loading."""
        return tuple(takewhile(lambda entry: entry.why_not is None, self.stored))


@dataclass(slots=True)
class Lookup:
    """Where a prompt meets the tree; all numbers are tokens.

    ``deepest`` is the last node of the prompt's path, ghosts included. The first ``aligned`` tokens of the prompt, whole
    blocks, end on the edge of ``node``; those from ``backed`` on, also whole blocks, are a ghost. ``source`` is the nearest
    edge with blocks that goes on from ``backed``; of its next block ``partial`` tokens can be reused by copying. ``whole``:
    there is nothing of the prompt that the tree does not have. ``cached`` tokens are readable now, up to ``reach`` they have
    blocks, up to ``seen`` the tree knows the prompt, ghosts included.
    """

    deepest: Node
    node: Node
    aligned: int
    backed: int
    source: Node | None
    partial: int
    whole: bool
    cached: int
    reach: int
    seen: int


def locate(tree: RadixTree, root: Root, query: Query) -> Lookup:
    """Where a prompt of at least one token meets the tree."""
    tokens, private = query.tokens, query.private
    size, last = tree.block_size, len(tokens) // TOKEN_BYTES - 1
    deepest, end = tree.walk(root, tokens, private)
    node = deepest
    reach = node.backed if node.backed > node.start else backed_end(node)
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
        rest = tokens[backed * TOKEN_BYTES : backed * TOKEN_BYTES + tree.width]
        source, common = tree.nearest(above, rest if private is None else child_key(rest, backed, private))
        if backed < aligned and source is not None:
            common = min(common, source.ready - backed)  # where a ghost goes on, nothing is waited for
    elif above.backed > backed:
        source, common = above, end - backed
    whole = aligned + (common if backed == aligned else 0) > last
    partial = common if common < last - backed else last - backed
    reach = backed + partial
    ready = node.ready if node.ready > node.start else ready_end(node)
    cached = ready if ready < backed else backed
    if partial and cached == backed and source is not None and source.ready >= reach:
        cached = reach
    return Lookup(deepest, node, aligned, backed, source, partial, whole, cached, reach, min(end, last))


def without_copy(lookup: Lookup) -> Lookup:
    """The same, where the block in which the prompt leaves a cached prefix is brought whole instead of copied in part."""
    cached, backed = min(lookup.cached, lookup.backed), lookup.backed
    whole = lookup.whole and not (lookup.partial and lookup.backed == lookup.aligned)
    return replace(lookup, source=None, partial=0, whole=whole, cached=cached, reach=backed)


def explain(lookup: Lookup, query: Query, ghosts: "dict[Node, float]", brought: int = 0) -> HitEnd:
    """Why the hit of a new request ended where it did, within its own namespace.

    ``ghosts`` has the time at which the edges that lack blocks lost them; the first ``brought`` tokens will have come from a
    lower tier. Nothing that is another owner's is told.
    """
    end = max(lookup.reach, brought)
    last = len(query.tokens) // TOKEN_BYTES - 1
    if end == last or (0 < brought == end and query.loadable[-1].until > last):
        return HitEnd(MissReason.COMPLETE, end)
    if query.stored and query.stored[-1].until > end and query.stored[-1].why_not is not None:
        return HitEnd(query.stored[-1].why_not, end)
    if lookup.seen > end:
        lost = lookup.seen - end
        return HitEnd(MissReason.EVICTED, end, lost_tokens=lost, evicted_at=ghosts.get(_topmost_ghost(lookup.deepest)))
    nearest = b"" if lookup.source is None or not end or end > lookup.reach else _visible(lookup.source, end, query.private)
    return HitEnd(MissReason.DIVERGED, end, nearest) if nearest else HitEnd(MissReason.FIRST_SEEN, end)


def _topmost_ghost(node: Node) -> Node:
    """The first edge on the path to a node that lacks blocks."""
    while node.parent is not None and node.parent.backed < node.parent.end:
        node = node.parent
    return node


def _visible(source: Node, at: int, private: PrivatePart | None) -> bytes:
    """The tokens with which an edge goes on at a position, as far as the prompt could have shared them.

    Neither another owner's, nor public ones beyond the place where the prompt is its owner's alone.
    """
    if source.private is None and private is None:
        return source.tokens(at, at + NEAREST_TOKENS)
    own = private is not None and (source.private == private or source.start > private.start)
    ends = [at + NEAREST_TOKENS]
    if not own:
        ends += [part.start for part in (source.private, private) if part is not None]
    return source.tokens(at, min(ends))
