"""Stores by the place a user names: a folder of packs, or the URL of a shared store; sealed if there is a key."""

import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from foreword.errors import ConfigError
from foreword.lazy import extra_needed
from foreword.tiers.announcing import BOARD, AnnouncedStore
from foreword.tiers.base import BlockStore
from foreword.tiers.breaker import GuardedStore
from foreword.tiers.identity import Identity
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.tenant_keys import TenantKeys

logger = logging.getLogger("foreword")

VALKEY = ("valkey", "valkeys", "redis", "rediss")
OBJECTS = ("s3", "gs", "az")


def open_packs(path: Path, identity: Identity, options: PackOptions, tenants: TenantKeys | None) -> GuardedStore:
    """The packs of a local folder. StoreFailed if it cannot be used; ImportError names the extra that is lacking."""
    with extra_needed("A store of KV", "tiers"):
        from foreword.tiers.packs import LocalPacks
    if "\0" in str(path):
        raise ConfigError(f"The folder of a store is a path; got {str(path)!r}.")
    name = f"The store {path}"
    store = _sealed(LocalPacks(path, identity, options), identity, tenants)
    _tell_if_plain(name, tenants)
    return GuardedStore(store, name)


def open_shared(url: str, identity: Identity, tenants: TenantKeys | None) -> GuardedStore:
    """A store that engines share: valkey://host, s3://bucket/path, file:///a/folder. ConfigError for a URL of another kind.

    StoreFailed if a folder or object store cannot be used; a server is asked when it is first needed. It tells who else
    uses it, and those who this one is (announcing.py).
    """
    parts = _parts(url)
    open_one = _opener(parts.scheme)
    if open_one is None:
        known = ", ".join(f"{scheme}://" for scheme in ("file", *VALKEY, *OBJECTS))
        raise ConfigError(f"The URL of a shared store begins with one of {known}; got {_shown(url)!r}.")
    name = f"The shared store {_shown(url)}"
    store, board = (_sealed(open_one(url, whose), whose, tenants) for whose in (identity, BOARD))
    _tell_if_plain(name, tenants)
    return GuardedStore(AnnouncedStore(store, board, identity, tenants), name)


def _parts(url: str) -> SplitResult:
    """A URL's parts; ConfigError for what is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, and so checked
    except ValueError as error:
        raise ConfigError(
            f"{_shown(url)!r} is no URL: {error}. A shared store is given as valkey://host:6379, say."
        ) from error
    return parts


def _opener(scheme: str) -> Callable[[str, Identity], BlockStore] | None:
    if scheme == "file":
        return _folder
    if scheme in VALKEY:
        return _valkey
    return _objects if scheme in OBJECTS else None


def _folder(url: str, identity: Identity) -> BlockStore:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or not parts.path.strip("/") or not path.is_absolute():
        raise ConfigError(f"The folder of a shared store is given from the root, as file:///a/folder; got {url!r}.")
    if parts.query or parts.fragment or "\0" in str(path):
        raise ConfigError(f"The folder of a shared store is a path, with %3F for ? and %23 for #; got {url!r}.")
    with extra_needed("A shared store", "tiers"):
        from foreword.tiers.folder import SharedFolder
    return SharedFolder(path, identity)


def _valkey(url: str, identity: Identity) -> BlockStore:
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if not parts.hostname or not (database.isdecimal() or not database):
        raise ConfigError(
            f"A Valkey server is given as valkey://host:6379, with /1 for its database 1; got {_shown(url)!r}."
        )
    with extra_needed("A store in Valkey", "tiers"):
        from foreword.tiers.valkey import ValkeyStore
    try:
        return ValkeyStore(url, identity)
    except ValueError as error:
        raise ConfigError(f"{_shown(url)!r} is not what a Valkey client takes: {error}.") from error


def _objects(url: str, identity: Identity) -> BlockStore:
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"An object store is given as {parts.scheme}://bucket/path, its region and keys in the environment; "
            f"got {_shown(url)!r}."
        )
    with extra_needed("An object store", "tiers"):
        from foreword.tiers.object_store import ObjectBlocks, object_store
    return ObjectBlocks(object_store(url), identity)


def _sealed(store: BlockStore, identity: Identity, tenants: TenantKeys | None) -> BlockStore:
    if tenants is None:
        return store
    with extra_needed("A store's key", "tiers"):
        from foreword.tiers.sealed import SealedStore
    return SealedStore(store, tenants, identity)


def _tell_if_plain(name: str, tenants: TenantKeys | None) -> None:
    if tenants is None:
        logger.warning("%s is not encrypted: whoever can read it can read what prompts were about.", name)


def _shown(url: str) -> str:
    """The URL without a password, also of what is no URL."""
    scheme, slashes, rest = url.partition("//")
    return scheme + slashes + rest.rpartition("@")[2]
