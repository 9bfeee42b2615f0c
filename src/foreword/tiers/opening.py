"""Stores by the place a user names: a folder of packs, or the URL of a shared store; sealed if there is a key."""

import logging
from collections.abc import Callable
from pathlib import Path

from foreword.errors import ConfigError
from foreword.lazy import extra_needed
from foreword.tiers.announcing import BOARD, AnnouncedStore
from foreword.tiers.base import BlockStore
from foreword.tiers.breaker import GuardedStore
from foreword.tiers.identity import Identity
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.store_url import FILE, VALKEY, checked_url, folder_of, shown_url
from foreword.tiers.tenant_keys import TenantKeys

logger = logging.getLogger("foreword")


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
    open_one, name = _opener(checked_url(url).scheme), f"The shared store {shown_url(url)}"
    store, board = (_sealed(open_one(url, whose), whose, tenants) for whose in (identity, BOARD))
    _tell_if_plain(name, tenants)
    return GuardedStore(AnnouncedStore(store, board, identity, tenants), name)


def _opener(scheme: str) -> Callable[[str, Identity], BlockStore]:
    if scheme == FILE:
        return _folder
    return _valkey if scheme in VALKEY else _objects


def _folder(url: str, identity: Identity) -> BlockStore:
    with extra_needed("A shared store", "tiers"):
        from foreword.tiers.folder import SharedFolder
    return SharedFolder(folder_of(checked_url(url)), identity)


def _valkey(url: str, identity: Identity) -> BlockStore:
    with extra_needed("A store in Valkey", "tiers"):
        from foreword.tiers.valkey import ValkeyStore
    try:
        return ValkeyStore(url, identity)
    except ValueError as error:
        raise ConfigError(f"{shown_url(url)!r} is not what a Valkey client takes: {error}.") from error


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
