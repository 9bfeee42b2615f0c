"""Token ids as the cache keeps them: little-endian int32 in a ``bytes`` object.

``bytes`` compare with ``memcmp``, slice without a loop and hash once; a list of ints does none of that.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foreword.errors import PromptError

TOKEN_BYTES = 4
TOKEN_TYPE = np.dtype("<i4")


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
    """How many leading tokens two packed sequences share."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size // TOKEN_BYTES
    if size <= 256:
        difference = int.from_bytes(a[:size], "little") ^ int.from_bytes(b[:size], "little")
        return ((difference & -difference).bit_length() - 1) // (8 * TOKEN_BYTES)
    left = np.frombuffer(a, TOKEN_TYPE, size // TOKEN_BYTES)
    right = np.frombuffer(b, TOKEN_TYPE, size // TOKEN_BYTES)
    return int((left != right).argmax())
