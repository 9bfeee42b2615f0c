"""The prefix cache: pure Python and NumPy, no IO, no clock, no thread."""

from foreword.account import Account, HitEnd, MissReason, Source
from foreword.cache.config import CacheConfig, CacheOptions
from foreword.cache.ledger import RequestLedger
from foreword.cache.marks import Mark
from foreword.cache.namespace import ModelFingerprint, Namespace
from foreword.cache.prefix_cache import PrefixCache
from foreword.cache.reservation import Chunk, CopyBlock, Match, Reservation, Usage
from foreword.tokens import pack_tokens, unpack_tokens

__all__ = [
    "Account",
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
    "RequestLedger",
    "Reservation",
    "Source",
    "Usage",
    "pack_tokens",
    "unpack_tokens",
]
