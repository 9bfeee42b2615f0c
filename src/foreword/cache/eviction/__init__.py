"""Which cached leaf goes first when room is needed: a policy a file, and the queue that asks it."""

from foreword.cache.eviction.learned import LearnedReuse
from foreword.cache.eviction.lru import LRU
from foreword.cache.eviction.policy import EvictionPolicy
from foreword.cache.eviction.protected_lru import ProtectedLRU
from foreword.cache.eviction.queue import EvictionQueue, is_evictable

POLICIES: dict[str, type[EvictionPolicy]] = {each.name: each for each in (LRU, ProtectedLRU, LearnedReuse)}
"""By the name that the option ``eviction_policy`` gives them."""

__all__ = ["LRU", "POLICIES", "EvictionPolicy", "EvictionQueue", "LearnedReuse", "ProtectedLRU", "is_evictable"]
