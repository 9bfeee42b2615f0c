"""Who asks: API keys and the tenants behind them. Only hashes of the keys are kept."""

import difflib
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foreword.errors import ConfigError, CredentialsError

ENVIRONMENT = "FOREWORD_API_KEYS"
ANONYMOUS = "anonymous"
_PREFIX = "sha256:"


@dataclass(frozen=True)
class Tenants:
    """SHA-256 of each API key, and its tenant. Without any key everyone is the tenant ``anonymous``.

    A plain hash is enough because keys are random (``new_key``: 256 bits); it does not protect a key that can be guessed.
    """

    by_hash: Mapping[bytes, str]

    def identify(self, key: str | None) -> tuple[str, str]:
        """The tenant of an API key, and a name for the key itself. CredentialsError for a key that is not known.

        Takes the same time whichever key it is.
        """
        if not self.by_hash:
            return ANONYMOUS, ANONYMOUS
        if not key:
            raise CredentialsError(
                "No API key. Send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'; this server's operator has them."
            )
        given, found = _hash(key), None
        for known, tenant in self.by_hash.items():
            if hmac.compare_digest(given, known):
                found = tenant
        if found is None:
            raise CredentialsError("This API key is not known here.")
        return found, given.hex()[:16]


class KeyRing:
    """The API keys that are known now. ``load`` reads them again; None: they come from nowhere that could have changed."""

    def __init__(self, tenants: Tenants, load: Callable[[], Tenants] | None = None):
        self._tenants = tenants
        self._load = load

    @property
    def by_hash(self) -> Mapping[bytes, str]:
        """SHA-256 of each key, and its tenant; empty where nobody needs one."""
        return self._tenants.by_hash

    @property
    def reloadable(self) -> bool:
        """Whether there is a place to read keys from again."""
        return self._load is not None

    def identify(self, key: str | None) -> tuple[str, str]:
        """The tenant of an API key, and a name for the key itself. CredentialsError for a key that is not known."""
        return self._tenants.identify(key)

    def reload(self) -> tuple[int, int]:
        """Read the keys again: how many are new, how many have gone. ConfigError, and all stay, if they cannot be read."""
        assert self._load is not None
        before, self._tenants = self._tenants.by_hash, self._load()
        now = self._tenants.by_hash
        changed = {digest for digest in now.keys() & before.keys() if now[digest] != before[digest]}
        return len(now.keys() - before.keys() | changed), len(before.keys() - now.keys() | changed)


def check_operators(operators: Sequence[str], tenants: Tenants) -> None:
    """ConfigError for an operator that no key belongs to."""
    known = sorted(set(tenants.by_hash.values()))
    for name in operators:
        if not known:
            raise ConfigError(
                f"--operator {name}: there are no API keys, so everyone may see the dashboard. Leave it out, or give keys."
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"--operator {name}: no API key belongs to this tenant.{hint} Known: {', '.join(known)}.")


def load_tenants(file: str | None, environment: Mapping[str, str] = os.environ, api_key: str | None = None) -> Tenants:
    """Keys of a file (``TENANT sha256:HASH`` a line) and of FOREWORD_API_KEYS (``TENANT:KEY``, comma-separated).

    ``api_key`` is one more, of the tenant ``anonymous``.
    """
    by_hash: dict[bytes, str] = {}
    if api_key is not None:
        if not api_key:
            raise ConfigError("The API key is empty. Name one, or leave --api-key and FOREWORD_API_KEY out.")
        by_hash[_hash(api_key)] = ANONYMOUS
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The file of API keys {file!r} cannot be read: {error}.") from error
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                tenant, digest = _parse_line(line, f"{file}, line {number}")
                by_hash[digest] = tenant
        if not by_hash:
            raise ConfigError(
                f"The file of API keys {file!r} has none: it would let nobody in. Make one: foreword api-key TENANT."
            )
    for entry in filter(None, environment.get(ENVIRONMENT, "").split(",")):
        tenant, _, key = entry.strip().partition(":")
        if not tenant or not key:
            raise ConfigError(f"{ENVIRONMENT} has an entry that is not TENANT:KEY; entries are separated by commas.")
        by_hash[_hash(key)] = tenant
    if api_key is not None and any(tenant == ANONYMOUS and key != _hash(api_key) for key, tenant in by_hash.items()):
        raise ConfigError(
            f"A key of the tenant {ANONYMOUS!r} stands beside --api-key, whose tenant has that name and sees all. Call the "
            f"other tenant otherwise, or leave --api-key out."
        )
    return Tenants(by_hash)


def new_key(tenant: str) -> tuple[str, str]:
    """A fresh API key, and the line for the file of keys."""
    if not tenant or tenant.startswith("#") or any(character.isspace() for character in tenant):
        raise ConfigError(f"Tenant {tenant!r}: a name has no spaces and does not begin with '#'.")
    key = f"fw-{secrets.token_urlsafe(32)}"
    return key, f"{tenant} {_PREFIX}{_hash(key).hex()}"


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _parse_line(line: str, place: str) -> tuple[str, bytes]:
    words = line.split()
    try:
        if len(words) != 2 or not words[1].startswith(_PREFIX):
            raise ValueError
        digest = bytes.fromhex(words[1].removeprefix(_PREFIX))
        if len(digest) != hashlib.sha256().digest_size:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{place}: a line is 'TENANT sha256:HASH', as 'foreword api-key TENANT' prints it.") from None
    return words[0], digest
