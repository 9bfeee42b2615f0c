"""Where a request's marks (``cache_control``) stand, and the rules they are under.

Marks say what is to be *kept*: a hit needs none, because the cache finds every shared prefix to the token. A mark keeps the
prompt up to the end of its block for its TTL, and a request with marks refreshes the earlier marks that each of its own
finds when it looks back over at most 20 content blocks, its own the first of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from foreword.errors import PromptError
from foreword.prompt.chat import MarkAt
from foreword.server.anthropic.schema import CacheControl

MAX_MARKS = 4
LOOK_BACK = 20
"""Content blocks, that of the mark counted, in which an earlier mark is found."""
TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class Piece:
    """One content block of the prompt, or one text within a tool result (``nested``), in the order of the prompt.

    place
        Where it stands in the body, for messages.
    message, block
        Where it stands in the neutral conversation; see MarkAt.
    """

    place: str
    message: int | None
    block: int
    mark: CacheControl | None
    empty: bool = False
    nested: bool = False


def resolve_marks(pieces: Sequence[Piece], automatic: CacheControl | None) -> tuple[MarkAt, ...]:
    """The marks of a request in the order of the prompt; ``automatic`` is the one at the top level of the body.

    The automatic mark goes to the last block that is not empty. PromptError: a mark on an empty block, more than four, one
    with a TTL of 1h behind one of 5m, or an automatic one on a block that is marked with another TTL.
    """
    marked = [(piece, piece.mark) for piece in pieces if piece.mark is not None]
    for piece, _ in marked:
        if piece.empty:
            raise PromptError(f"{piece.place}.cache_control: the text block is empty; a mark needs text to stand behind.")
    last = next((piece for piece in reversed(pieces) if not piece.empty), None)
    if automatic is not None and last is not None:
        if last.mark is None:
            marked = [entry for entry in marked if entry[0] is not last] + [(last, automatic)]
        elif last.mark.ttl != automatic.ttl:
            raise PromptError(
                f"cache_control: the last block, {last.place}, is marked with ttl {last.mark.ttl!r} and the request with "
                f"{automatic.ttl!r}; leave one of the two out."
            )
    if len(marked) > MAX_MARKS:
        raise PromptError(
            f"cache_control: the request has {len(marked)} marks; at most {MAX_MARKS} are allowed. The last one covers all "
            f"that stands before it."
        )
    for (before, first), (piece, mark) in pairwise(marked):
        if first.ttl == "5m" and mark.ttl == "1h":
            raise PromptError(
                f"{piece.place}.cache_control.ttl: a mark of 1h stands behind one of 5m ({before.place}). The longer TTL "
                f"comes first."
            )
    return tuple(
        MarkAt(piece.message, piece.block, TTL_SECONDS[mark.ttl], _look_back(pieces, piece)) for piece, mark in marked
    )


def _look_back(pieces: Sequence[Piece], marked: Piece) -> tuple[int | None, int] | None:
    """The place of the first of the LOOK_BACK content blocks that end with this one; None: it is in the first ones."""
    blocks = [piece for piece in pieces if not piece.nested]
    if marked.nested:  # it stands in the content block that comes next
        behind = pieces.index(marked)
        own = next(piece for piece in pieces[behind:] if not piece.nested)
    else:
        own = marked
    first = blocks.index(own) + 1 - LOOK_BACK
    return (blocks[first].message, blocks[first].block) if first > 0 else None
