"""The prefix cache: pure Python and NumPy, no IO, no clock, no thread."""

from foreword.account import Account, HitEnd, MissReason, Source
from foreword.cache.actions import CacheAction, CopyBlock
from foreword.cache.config import CacheConfig, CacheOptions
from foreword.cache.ledger import RequestLedger
from foreword.cache.marks import Mark
from foreword.cache.namespace import ModelFingerprint, Namespace
from foreword.cache.prefix_cache import PrefixCache
from foreword.cache.reservation import Reservation
from foreword.cache.results import Chunk, Match, Query, Usage
from foreword.tokens import pack_tokens, unpack_tokens

__all__ = [
    "Account",
    "CacheAction",
    "CacheConfig",
    "CacheOptions",
    "Chunk",
    "CopyBlock",
    "HitEnd",
    "Mark",
    "Match",
    "MissReason",
    "ModelFingerprint",
    "Namespace",
    "PrefixCache",
    "Query",
    "RequestLedger",
    "Reservation",
    "Source",
    "Usage",
    "pack_tokens",
    "unpack_tokens",
]
