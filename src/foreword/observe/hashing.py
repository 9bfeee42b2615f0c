"""A 64-bit name for every prefix of a prompt, all of them in one vectorised pass.

The hash of a prefix is the sum, modulo 2**64, of each token id times a random multiplier of its position, begun at a hash
of the namespace: a multilinear hash, uniform and pairwise independent in its upper bits. It names prefixes in statistics
only; no KV is ever found by it.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from foreword.tokens import TOKEN_TYPE

Hashes = npt.NDArray[np.uint64]

HASHES = 2**64  # how many there are
FIRST_MULTIPLIERS = 4096
ONE = np.uint64(1)  # added to ids, so that a token 0 counts


class PrefixHasher:
    """Hashes prefixes; the same seed gives the same hashes in every process."""

    def __init__(self, seed: int = 0):
        self._random = np.random.default_rng(seed)
        self._multipliers: Hashes = np.empty(0, np.uint64)
        self._namespace, self._start = b"", _hash(b"")  # the last one used

    def __call__(self, namespace: bytes, tokens: bytes, owner: str | None = None, private_from: int = 0) -> Hashes:
        """The hashes of the prefixes of 1, 2, 3, ... packed tokens; an owner has those from a position on alone."""
        hashes = np.frombuffer(tokens, TOKEN_TYPE).astype(np.uint64)
        hashes += ONE
        hashes *= self._for(len(hashes))
        if namespace != self._namespace:
            self._namespace, self._start = namespace, _hash(namespace)
        hashes[:1] += self._start
        if owner is not None:
            hashes[private_from : private_from + 1] += _hash(b"owner" + owner.encode("utf-8", "surrogatepass"))
        return np.add.accumulate(hashes, out=hashes)

    def _for(self, length: int) -> Hashes:
        """The multipliers of the first ``length`` positions; more are drawn when a longer prompt comes."""
        known = len(self._multipliers)
        if length > known:
            more = self._random.integers(0, 2**64, max(length, FIRST_MULTIPLIERS, 2 * known) - known, np.uint64)
            self._multipliers = np.concatenate((self._multipliers, more))
        return self._multipliers[:length]


def _hash(namespace: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(namespace, digest_size=8).digest(), "little"))
