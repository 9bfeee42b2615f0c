"""Stores by the place a user names: a folder of packs, or the URL of a shared store; sealed if there is a key."""

import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

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
    name = f"The store {path}"
    _tell_if_plain(name, tenants)
    return GuardedStore(_sealed(LocalPacks(path, identity, options), identity, tenants), name)


def open_shared(url: str, identity: Identity, tenants: TenantKeys | None) -> GuardedStore:
    """A store that engines share: valkey://host, s3://bucket/path, file:///a/folder. ConfigError for a URL of another kind.

    StoreFailed if a folder or object store cannot be used; a server is asked when it is first needed. It tells who else
    uses it, and those who this one is (announcing.py).
    """
    parts = urlsplit(url)
    open_one = _opener(parts.scheme)
    if open_one is None:
        known = ", ".join(f"{scheme}://" for scheme in ("file", *VALKEY, *OBJECTS))
        raise ConfigError(f"The URL of a shared store begins with one of {known}; got {_shown(url)!r}.")
    name = f"The shared store {_shown(url)}"
    _tell_if_plain(name, tenants)
    store, board = (_sealed(open_one(url, whose), whose, tenants) for whose in (identity, BOARD))
    return GuardedStore(AnnouncedStore(store, board, identity, tenants), name)


def _opener(scheme: str) -> Callable[[str, Identity], BlockStore] | None:
    if scheme == "file":
        return _folder
    if scheme in VALKEY:
        return _valkey
    return _objects if scheme in OBJECTS else None


def _folder(url: str, identity: Identity) -> BlockStore:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigError(f"The folder of a shared store is given from the root, as file:///a/folder; got {url!r}.")
    with extra_needed("A shared store", "tiers"):
        from foreword.tiers.folder import SharedFolder
    return SharedFolder(Path(parts.path), identity)


def _valkey(url: str, identity: Identity) -> BlockStore:
    with extra_needed("A store in Valkey", "tiers"):
        from foreword.tiers.valkey import ValkeyStore
    return ValkeyStore(url, identity)


def _objects(url: str, identity: Identity) -> BlockStore:
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
    """The URL without a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
