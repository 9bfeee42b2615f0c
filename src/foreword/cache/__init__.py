"""The prefix cache: pure Python and NumPy, no IO, no clock, no thread. Its names are imported when first used."""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.account import Account, HitEnd, MissReason, Source
    from foreword.cache.actions import CacheAction, CopyBlock, LoadBlocks, StoreBlocks, Stored
    from foreword.cache.config import CacheConfig, CacheOptions
    from foreword.cache.ledger import RequestLedger
    from foreword.cache.lookup import Query
    from foreword.cache.marks import Mark
    from foreword.cache.namespace import ModelFingerprint, Namespace, PrivatePart
    from foreword.cache.prefix_cache import PrefixCache
    from foreword.cache.reservation import Reservation
    from foreword.cache.results import Chunk, Match, Usage
    from foreword.events import ConversationState
    from foreword.tokens import pack_tokens, unpack_tokens

__all__ = [
    "Account",
    "CacheAction",
    "CacheConfig",
    "CacheOptions",
    "Chunk",
    "ConversationState",
    "CopyBlock",
    "HitEnd",
    "LoadBlocks",
    "Mark",
    "Match",
    "MissReason",
    "ModelFingerprint",
    "Namespace",
    "PrefixCache",
    "PrivatePart",
    "Query",
    "RequestLedger",
    "Reservation",
    "Source",
    "StoreBlocks",
    "Stored",
    "Usage",
    "pack_tokens",
    "unpack_tokens",
]
_HOMES = {
    "Account": "account",
    "HitEnd": "account",
    "MissReason": "account",
    "Source": "account",
    "CacheAction": "cache.actions",
    "CopyBlock": "cache.actions",
    "LoadBlocks": "cache.actions",
    "Stored": "cache.actions",
    "StoreBlocks": "cache.actions",
    "CacheConfig": "cache.config",
    "CacheOptions": "cache.config",
    "ConversationState": "events",
    "RequestLedger": "cache.ledger",
    "Query": "cache.lookup",
    "Mark": "cache.marks",
    "ModelFingerprint": "cache.namespace",
    "Namespace": "cache.namespace",
    "PrivatePart": "cache.namespace",
    "PrefixCache": "cache.prefix_cache",
    "Reservation": "cache.reservation",
    "Chunk": "cache.results",
    "Match": "cache.results",
    "Usage": "cache.results",
    "pack_tokens": "tokens",
    "unpack_tokens": "tokens",
}
__getattr__ = lazy_exports(__name__, _HOMES)
