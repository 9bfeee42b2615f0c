"""From options to the tiers below an engine's memory. A store that cannot be used is told, and left out."""

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from foreword.account import Source
from foreword.cache import ModelFingerprint
from foreword.engine.config import EngineConfig
from foreword.engine.tier import Tier
from foreword.engine.tiering import Tiering, TierStore
from foreword.errors import StoreFailed
from foreword.tiers.base import BlockStore, Pieces
from foreword.tiers.identity import Identity
from foreword.tiers.opening import open_packs, open_shared
from foreword.tiers.pack_options import PackOptions
from foreword.tiers.store_url import checked_url
from foreword.tiers.tenant_keys import TenantKeys

logger = logging.getLogger("foreword")
TierOpener = Callable[[EngineConfig, ModelFingerprint, Callable[[int], Pieces], int], Tier | None]
"""open_stores, or what stands in for it."""
QUEUED_SHARE = 4
"""One block in so many may wait to be stored."""


def check_store_options(config: EngineConfig) -> None:
    """What is wrong with the options of stores is told before a model is loaded. ConfigError says it."""
    if config.shared_store:
        checked_url(config.shared_store)
    if config.stores and config.store_key_file:
        TenantKeys.read(Path(config.store_key_file))


def open_stores(
    config: EngineConfig, fingerprint: ModelFingerprint, pieces: Callable[[int], Pieces], num_blocks: int
) -> Tiering | None:
    """The tiers that the options name, with a line in the log for each; None if there are none, or none can be used.

    ConfigError for options that cannot be right.
    """
    if not config.stores:
        if config.store_key_file or config.store_daily_bytes is not None:
            logger.warning("store_key_file and store_daily_bytes do nothing: there is neither store nor shared_store.")
        return None
    pieces(0)
    identity = Identity.of(fingerprint)
    tenants = TenantKeys.read(Path(config.store_key_file) if config.store_key_file else None)
    stores: list[TierStore] = []
    if config.store:
        folder = _home_known(config.store)
        options = PackOptions(max_bytes=config.store_size_bytes, daily_bytes=config.store_daily_bytes)
        words = f"{folder} (at most {config.store_size_bytes / 2**20:.0f} MiB)"
        _open(Source.STORED_LOCAL, lambda: open_packs(folder, identity, options, tenants), words, stores, fingerprint)
    if config.shared_store:
        url = config.shared_store
        _open(Source.STORED_SHARED, lambda: open_shared(url, identity, tenants), "shared", stores, fingerprint)
    return Tiering(stores, pieces, config.block_size, max(1, num_blocks // QUEUED_SHARE), tenants) if stores else None


def _home_known(path: str) -> Path:
    """A path whose ~ is somebody's home: a shell leaves it in --store=~/x."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # whose home is not known
        return Path(path)


def _open(
    source: Source,
    open_one: Callable[[], BlockStore],
    words: str,
    stores: list[TierStore],
    fingerprint: ModelFingerprint,
) -> None:
    try:
        store = open_one()
    except StoreFailed as error:
        logger.warning("The store %s is off: %s", words, error)
        return
    usage = store.usage()
    held = "" if usage.blocks is None else f" {usage.blocks} blocks, {(usage.used_bytes or 0) / 2**20:.0f} MiB."
    others = {field for other in usage.others for field in _differences(fingerprint, other)}
    if others:
        held += f" Some are of other models or settings and not used here; they differ in {', '.join(sorted(others))}."
    logger.info("The store %s is on.%s", words, held)
    stores.append(TierStore(source, store))


def _differences(ours: ModelFingerprint, theirs: ModelFingerprint) -> list[str]:
    return [field.name for field in fields(ours) if getattr(ours, field.name) != getattr(theirs, field.name)]
