"""Token ids as the cache keeps them: little-endian int32 in a ``bytes`` object.

``bytes`` compare with ``memcmp``, slice without a loop and hash once; a list of ints does none of that.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foreword.errors import PromptError

TOKEN_BYTES = 4
TOKEN_TYPE = np.dtype("<i4")
NO_TOKEN = b"\xff" * TOKEN_BYTES  # the last byte of a token id is below 0x80
VECTOR_BYTES = 16384  # up to here one comparison of all tokens finds a difference fastest


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
    size = len(a) if len(a) < len(b) else len(b)
    difference = int.from_bytes(a[:size], "little") ^ int.from_bytes(b[:size], "little")
    if not difference:
        return size // TOKEN_BYTES
    return ((difference & -difference).bit_length() - 1) // (8 * TOKEN_BYTES)


def common_with_edge(query: bytes, at: int, edge: memoryview) -> int:
    """How many leading tokens of a long edge the query has from byte ``at`` on.

    Halves the edge until NumPy finds the difference sooner. What was equal is not looked at again, and nothing is copied:
    about one memcmp of the common part.
    """
    low, high = 0, min(len(edge), len(query) - at)
    while high - low > VECTOR_BYTES:
        middle = (low + high) // 2 // TOKEN_BYTES * TOKEN_BYTES
        if query.startswith(edge[low:middle], at + low):
            low = middle
        else:
            high = middle
    count = (high - low) // TOKEN_BYTES
    ours = np.frombuffer(query, TOKEN_TYPE, count, at + low)
    differ = ours != np.frombuffer(edge, TOKEN_TYPE, count, low)
    first = int(differ.argmax()) if count else 0
    return low // TOKEN_BYTES + (first if count and differ[first] else count)


def shared_tokens(a: bytes, b: bytes) -> int:
    """How many leading tokens two packed prompts share."""
    return shared_from(a, 0, b)


def shared_from(a: bytes, at: int, b: bytes) -> int:
    """How many leading tokens of packed tokens ``b`` stand in ``a`` from byte ``at`` on: about one memcmp of them."""
    if a[at : at + TOKEN_BYTES] != b[:TOKEN_BYTES]:
        return 0
    return common_with_edge(a, at, memoryview(b))
