"""Who may share with whom: the key under which a prefix tree is kept."""

import functools
from dataclasses import dataclass

from foreword.tokens import NO_TOKEN, TOKEN_BYTES


def _part(kind: bytes, value: str | None) -> bytes:
    """One typed, length-prefixed part; None and the empty string differ."""
    if value is None:
        return kind + b"-"
    data = value.encode("utf-8", "surrogatepass")  # what JSON lets through must have a key too
    return kind + b"+" + len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class ModelFingerprint:
    """All that the numbers in a block depend on besides the tokens. Two models share KV only when every field is equal.

    weights
        Digest of the model's files.
    kv_dtype, quantization
        What keys and values are kept in, and what linear layers are computed in.
    rope
        Parameters of rotary positions.
    attention
        Backend and attention, and how its sums are ordered.
    layout
        How a block's numbers lie in memory.
    numerics
        What bits are known to depend on and the canary does not show; empty where it shows all.
    canary
        Digest of the KV of one fixed prompt.
    """

    weights: str
    kv_dtype: str = "float32"
    quantization: str = "none"
    rope: str = ""
    attention: str = ""
    layout: str = ""
    numerics: str = ""
    canary: str = ""
    block_size: int = 16

    @functools.cached_property
    def key(self) -> bytes:
        """An injective encoding of all fields."""
        parts = (
            _part(b"w", self.weights),
            _part(b"d", self.kv_dtype),
            _part(b"q", self.quantization),
            _part(b"r", self.rope),
            _part(b"a", self.attention),
            _part(b"l", self.layout),
            _part(b"n", self.numerics),
            _part(b"c", self.canary),
            _part(b"b", str(self.block_size)),
        )
        return b"".join(parts)


@dataclass(frozen=True)
class PrivatePart:
    """Where a prompt stops being shared with everyone in its namespace, and whose it is from there on.

    Tokens before position ``start`` are everyone's; those from ``start`` on, prompt and answer, are ``owner``'s alone.
    """

    start: int
    owner: str

    @functools.cached_property
    def key(self) -> bytes:
        """What stands for the owner in a tree's keys, between public and private tokens (see tree.py).

        It depends on nothing but the owner: no other owner has it, in this process or any other. It begins with what is
        no token and tells its length; so no key with it is one of tokens alone, and none is that of another owner.
        """
        part = _part(b"t", self.owner)
        return NO_TOKEN + len(part).to_bytes(TOKEN_BYTES, "big") + part + bytes(-len(part) % TOKEN_BYTES)


@dataclass(frozen=True)
class Namespace:
    """One prefix tree's identity: model, adapter, tenant scope and salt. Different tuples never give one key."""

    model: ModelFingerprint
    adapter: str | None = None
    tenant: str | None = None
    cache_salt: str | None = None

    @functools.cached_property
    def key(self) -> bytes:
        """An injective encoding of the four parts."""
        model = self.model.key
        head = b"m" + len(model).to_bytes(4, "big") + model
        return head + _part(b"a", self.adapter) + _part(b"t", self.tenant) + _part(b"s", self.cache_salt)
