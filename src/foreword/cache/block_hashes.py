"""64-bit names of whole blocks, for indexes of which cache holds what: of a prompt all of them in one vectorised pass.

A block's hash stands for all that is in its namespace up to the end of that block, and from the private part on for whose
it is. It follows from the same values in every process. Of two namespaces the same tokens never give one hash, at any depth;
else two hashes are equal by chance only. They name blocks in indexes and events: no KV is ever found by one of them, for the
cache compares tokens.

    hash of block k   =  hash of block k - 1  +  mix(sum over its tokens of spread(token + word of its place), k)
    before block 0    =  a digest of the namespace and the block size
    before a block in which a private part begins  =  mix(the hash that was there, a digest of the owner and the place)
"""

import hashlib

import numpy as np
import numpy.typing as npt

from foreword.cache.namespace import PrivatePart
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE

BlockHashes = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ODD = np.uint64(0xD1342543DE82EF95)


class BlockHasher:
    """Hashes blocks of ``block_size`` tokens. It keeps nothing but tables: one serves for all namespaces."""

    def __init__(self, block_size: int):
        self.block_size = block_size
        self._places = _mixed(np.arange(1, block_size + 1, dtype=np.uint64) * GOLDEN)
        self._namespace: bytes | None = None  # the last one used
        self._root = 0

    def prompt(self, namespace: bytes, tokens: bytes, private: PrivatePart | None = None) -> BlockHashes:
        """The hashes of the whole blocks of a prompt (packed tokens), first to last. ``namespace``: ``Namespace.key``."""
        root, length = self.root(namespace), len(tokens) // TOKEN_BYTES
        if private is None or private.start >= length:
            return self.chain(root, 0, tokens)
        first = private.start // self.block_size
        cut = first * self.block_size
        public = self.chain(root, 0, tokens[: cut * TOKEN_BYTES])
        door = self.door(int(public[-1]) if len(public) else root, private.start, private.owner)
        return np.concatenate((public, self.chain(door, first, tokens[cut * TOKEN_BYTES :])))

    def root(self, namespace: bytes) -> int:
        """What stands before the first block of a namespace."""
        if namespace != self._namespace:
            self._root = _digest(b"block root 1", namespace + self.block_size.to_bytes(4, "big"))
            self._namespace = namespace
        return self._root

    def door(self, before: int, private_from: int, owner: str) -> int:
        """What stands before the block in which an owner's part begins, at position ``private_from`` of the prompt."""
        place = (private_from % self.block_size).to_bytes(4, "big")
        own = _digest(b"block door 1", place + owner.encode("utf-8", "surrogatepass"))
        return int(_mixed(np.array([before ^ own], np.uint64))[0])

    def chain(self, before: int, first: int, tokens: bytes) -> BlockHashes:
        """The hashes of the whole blocks of packed tokens, the first of which is block ``first`` of its prompt.

        ``before``: the hash of the block before it, or what ``root`` or ``door`` gives.
        """
        size = self.block_size
        count = len(tokens) // (size * TOKEN_BYTES)
        words = np.frombuffer(tokens, TOKEN_TYPE, count * size).astype(np.uint64).reshape(count, size)
        words += self._places
        words *= ODD
        words ^= words >> np.uint64(32)
        words *= GOLDEN
        hashes = words.sum(axis=1, dtype=np.uint64)
        hashes += np.arange(first + 1, first + count + 1, dtype=np.uint64) * GOLDEN
        hashes = _mixed(hashes)
        hashes[:1] += np.uint64(before)
        return np.add.accumulate(hashes, out=hashes)


def _mixed(words: BlockHashes) -> BlockHashes:
    """64-bit words spread over all bits, one to one, in place: the finalizer of SplitMix64."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _digest(kind: bytes, data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=kind).digest(), "little")
