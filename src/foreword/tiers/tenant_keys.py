"""Keys of tenants, all derived from one master key: one to name blocks with, one to seal them with."""

import functools
import os
from pathlib import Path

from foreword.errors import ConfigError
from foreword.lazy import extra_needed

KEY_BYTES = 32
SALT = b"foreword tenant keys 1"
VARIABLE = "FOREWORD_STORE_KEY"
HOW = f"`openssl rand -hex {KEY_BYTES}` makes one"
REMEMBERED = 4096
"""Tenants whose keys are not derived again."""


class TenantKeys:
    """The keys under one master key. Nobody who lacks it can name, read or write a block of anyone.

    ``owner`` is a tenant's name, or None for what is everyone's.
    """

    def __init__(self, master: bytes):
        """``master``: 32 secret bytes."""
        if len(master) != KEY_BYTES:
            raise ConfigError(f"A store's key has {KEY_BYTES} bytes, this one {len(master)}; {HOW}.")
        self._derived = functools.lru_cache(REMEMBERED)(functools.partial(_derive, master))

    @classmethod
    def read(cls, file: Path | None) -> "TenantKeys | None":
        """From a file of 64 hexadecimal digits, or else the variable FOREWORD_STORE_KEY; None where there is neither.

        ConfigError if the file cannot be read, or what is found is no key.
        """
        try:
            text = os.environ.get(VARIABLE, "") if file is None else file.read_text("utf-8-sig", "replace")
        except OSError as error:
            raise ConfigError(f"The store's key cannot be read from {file}: {error}.") from error
        if file is None and not text.strip():
            return None
        try:
            return cls(bytes.fromhex(text.strip()))
        except ValueError as error:
            raise ConfigError(
                f"{file or VARIABLE} must hold {2 * KEY_BYTES} hexadecimal digits and nothing else; {HOW}."
            ) from error

    def naming_key(self, owner: str | None) -> bytes:
        """32 bytes under which names of the owner's blocks are made."""
        return self._derived(b"name", owner)

    def sealing_key(self, owner: str | None) -> bytes:
        """32 bytes with which the owner's blocks are encrypted."""
        return self._derived(b"seal", owner)


def _derive(master: bytes, purpose: bytes, owner: str | None) -> bytes:
    with extra_needed("A store's key", "tiers"):
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    whose = b"-" if owner is None else b"+" + owner.encode("utf-8", "surrogatepass")
    return HKDF(SHA256(), KEY_BYTES, SALT, purpose + b"\0" + whose).derive(master)
