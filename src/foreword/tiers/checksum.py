"""The checksum of a stored block."""

from foreword.lazy import extra_needed
from foreword.tiers.base import Pieces

with extra_needed("A store of KV", "tiers"):
    import xxhash

CHECKSUM_BYTES = 16


def checksum(pieces: Pieces) -> bytes:
    """16 bytes (XXH3-128) that tell an accident, and no forger."""
    digest = xxhash.xxh3_128()
    update = digest.update
    for piece in pieces:
        update(piece)
    return digest.digest()
