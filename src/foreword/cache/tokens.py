"""Token ids as the cache keeps them: little-endian int32 in a ``bytes`` object.

``bytes`` compare with ``memcmp``, slice without a loop and hash once; a list of ints does none of that.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foreword.errors import PromptError

TOKEN_BYTES = 4
TOKEN_TYPE = np.dtype("<i4")
SHORT_BYTES = 256  # up to here integers find a difference fastest


def pack_tokens(ids: Sequence[int] | npt.NDArray[np.integer]) -> bytes:
    """Token ids to bytes. Raises PromptError for ids that are no non-negative 32-bit integers."""
    try:
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise PromptError(f"Token ids must be a flat list of integers, got shape {array.shape}, {array.dtype}.")
        if array.size and (array.min() < 0 or array.max() >= 2**31):
            bad = int(array.min()) if array.min() < 0 else int(array.max())
            raise PromptError(f"Token id {bad} is outside 0 to 2**31 - 1.")
    except (OverflowError, ValueError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"Token ids must be a flat list of integers: {error}") from error
    return array.astype(TOKEN_TYPE, copy=False).tobytes()


def unpack_tokens(tokens: bytes) -> list[int]:
    """The inverse of pack_tokens."""
    return np.frombuffer(tokens, TOKEN_TYPE).tolist()  # type: ignore[no-any-return]


def common_tokens(a: bytes, b: bytes) -> int:
    """How many leading tokens two short packed sequences (about a block) share."""
    if a[:TOKEN_BYTES] != b[:TOKEN_BYTES]:
        return 0
    size = min(len(a), len(b))
    difference = int.from_bytes(a[:size], "little") ^ int.from_bytes(b[:size], "little")
    if not difference:
        return size // TOKEN_BYTES
    return ((difference & -difference).bit_length() - 1) // (8 * TOKEN_BYTES)


def common_with_edge(query: bytes, at: int, edge: bytes) -> int:
    """How many leading tokens of a long edge the query has from byte ``at`` on.

    Halves the edge until the difference is within a few tokens. What was equal is not looked at again, and nothing is
    copied: about one memcmp of the common part.
    """
    view = memoryview(edge)
    low, high = 0, min(len(edge), len(query) - at)
    while high - low > SHORT_BYTES:
        middle = (low + high) // 2 // TOKEN_BYTES * TOKEN_BYTES
        if query.startswith(view[low:middle], at + low):
            low = middle
        else:
            high = middle
    return low // TOKEN_BYTES + common_tokens(query[at + low : at + high], edge[low:high])
