"""What blocks are called in a store: a chain of digests over all that a block's KV depend on and who may have it."""

import hashlib
import hmac

from foreword.cache.namespace import PrivatePart
from foreword.tiers.base import ROOT, BlockKey
from foreword.tiers.tenant_keys import TenantKeys
from foreword.tokens import TOKEN_BYTES

START = b"foreword block chain 1\0"
LINK = b"foreword block link 1\0"


class BlockNames:
    """Names of the blocks of prompts of one namespace.

    A block's digest covers the namespace, the tokens of all blocks up to it, and from the block in which the private part
    begins its owner. Without tenants' keys that is its name; with them the name is its HMAC under the owner's key (or
    everyone's, where it has no owner), so that who can list a store cannot tell whether it holds a prompt.
    """

    def __init__(self, namespace: bytes, block_size: int, tenants: TenantKeys | None = None):
        """``namespace``: ``Namespace.key``; ``block_size`` in tokens."""
        self._start = hashlib.sha256(START + block_size.to_bytes(4, "big") + _part(namespace)).digest()
        self._block_bytes = block_size * TOKEN_BYTES
        self._tenants = tenants

    def keys(self, tokens: bytes, private: PrivatePart | None = None) -> list[BlockKey]:
        """The whole blocks of packed tokens, first to last; what is left of a last block has no name."""
        whole = len(tokens) // self._block_bytes * self._block_bytes
        private_from = len(tokens) if private is None else private.start * TOKEN_BYTES
        keys = []
        digest, parent = self._start, ROOT
        for at in range(0, whole, self._block_bytes):
            block = tokens[at : at + self._block_bytes]
            owner = private.owner if private is not None and private_from < at + self._block_bytes else None
            digest = hashlib.sha256(LINK + digest + _owner_part(owner) + _part(block)).digest()
            name = digest if self._tenants is None else hmac.digest(self._tenants.naming_key(owner), digest, "sha256")
            keys.append(BlockKey(name, parent, block, owner))
            parent = name
        return keys


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _owner_part(owner: str | None) -> bytes:
    """None and the empty string differ; any text that JSON lets through has one."""
    return b"-" if owner is None else b"+" + _part(owner.encode("utf-8", "surrogatepass"))
