"""What a client says of its conversation: one bit, for the order of eviction.

``goes_on`` keeps the prompt for a while, as a mark does, inside the marks' budget. ``ended`` makes the *private tail* the
first to go: what of prompt and answer no other conversation is known to use. Nothing is evicted before room is needed,
and leaves go first: what somebody else's cached prompt hangs on stays.
"""

from collections.abc import Iterator

from foreword.cache.namespace import PrivatePart
from foreword.cache.tree import Node

GOES_ON_SECONDS = 600.0
"""How long a prompt is kept that goes on: of Mooncake's conversations that do, most have within ten minutes."""


def private_tail(leaf: Node, private: PrivatePart | None, kept: int) -> Iterator[Node]:
    """The nodes that a path has for its conversation alone, the deepest first; none that begins before position ``kept``.

    A turn adds one use to what stands above it, and leaves at most a branch that is older than the next turn. Where more was
    used, where a later branch begins, or where somebody runs, others are; what is everyone's ends at the tenant's door. One
    other request, before and only once, cannot be told from an earlier turn.
    """
    node = leaf
    while node.parent is not None and not (node.holders or node.start < kept):
        if node is leaf and node.children:
            return
        parent = node.parent
        if private is not None and node.door is None:
            return
        yield node
        if parent.uses > node.uses + 1 or next(reversed(parent.children.values())) is not node:
            return
        node = parent
