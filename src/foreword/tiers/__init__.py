"""Stores of KV below the block pool: local packs, a shared folder, Valkey, an object store. Pure IO: no torch, no engine."""

from foreword.tiers.base import ROOT, BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.names import BlockNames
from foreword.tiers.tenant_keys import TenantKeys

__all__ = ["ROOT", "BlockKey", "BlockNames", "BlockStore", "Identity", "Outcome", "Pieces", "StoreUsage", "TenantKeys"]
