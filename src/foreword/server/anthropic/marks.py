"""Rules for a request's marks (``cache_control``), and where in the prompt they stand.

Marks say what is to be *kept*: a hit needs none, because the cache finds every shared prefix to the token. A mark keeps the
prompt up to the end of its block for its TTL, and a request with marks refreshes the earlier marks that each of its own
finds when it looks back over at most 20 content blocks, its own the first of them.
"""

from collections.abc import Sequence
from itertools import pairwise

from foreword.errors import PromptError
from foreword.prompt.chat import MarkAt
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.anthropic import LOOK_BACK, MAX_MARKS, BlockPlace


def resolve_marks(places: Sequence[BlockPlace], automatic: str | None) -> tuple[MarkAt, ...]:
    """The marks of a request in the order of the prompt; ``automatic`` is the TTL of the one at the top level of the body.

    The automatic mark goes to the last block that is not empty. PromptError: a mark on an empty block, more than four, one
    with a TTL of 1h behind one of 5m, or an automatic one on a block that is marked with another TTL.
    """
    marked = [(place, place.ttl) for place in places if place.ttl is not None]
    for place, _ in marked:
        if place.empty:
            raise PromptError(f"{place.path}.cache_control: the text block is empty; a mark needs text to stand behind.")
    last = next((place for place in reversed(places) if not place.empty), None)
    if automatic is not None and last is not None:
        if last.ttl is None:
            marked = [entry for entry in marked if entry[0] is not last] + [(last, automatic)]
        elif last.ttl != automatic:
            raise PromptError(
                f"cache_control: the last block, {last.path}, is marked with ttl {last.ttl!r} and the request with "
                f"{automatic!r}; leave one of the two out."
            )
    if len(marked) > MAX_MARKS:
        raise PromptError(
            f"cache_control: the request has {len(marked)} marks; at most {MAX_MARKS} are allowed. The last one covers all "
            f"that stands before it."
        )
    for (before, first), (place, second) in pairwise(marked):
        if ttl.ANTHROPIC[first] < ttl.ANTHROPIC[second]:
            raise PromptError(
                f"{place.path}.cache_control.ttl: a mark of {second} stands behind one of {first} ({before.path}). The "
                f"longer TTL comes first."
            )
    return tuple(
        MarkAt(place.message, place.block, ttl.ANTHROPIC[word], _look_back(places, place)) for place, word in marked
    )


def _look_back(places: Sequence[BlockPlace], marked: BlockPlace) -> tuple[int | None, int] | None:
    """The place of the first of the LOOK_BACK content blocks that end with this one; None: it is in the first ones."""
    blocks = [place for place in places if not place.nested]
    if marked.nested:  # it stands in the content block that comes next
        behind = places.index(marked)
        own = next(place for place in places[behind:] if not place.nested)
    else:
        own = marked
    first = blocks.index(own) + 1 - LOOK_BACK
    return (blocks[first].message, blocks[first].block) if first > 0 else None
