"""Options of the prefix cache."""

from dataclasses import dataclass

from foreword.config import option, require, require_types


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Options of a prefix cache that people choose; an engine has them too."""

    block_size: int = 16
    """Tokens a block; the engine's kernels take 1, 2, 4, ... 256."""
    enable_prefix_caching: bool = option(True, name="prefix-caching")
    """Whether prefixes are kept; off, every request computes its whole prompt, with the same bookkeeping."""
    eviction_policy: str = "lru"
    """What goes first from a full cache: ``lru``; ``protected-lru`` for working sets larger than the cache; or ``learned``:
    what earlier uses tell is least likely to be used again soon."""
    ghost_ratio: float = 4.0
    """Evicted tokens to remember, as a multiple of the tokens that fit."""
    mark_budget: float = 0.5
    """Share of the blocks that marked prefixes may keep from eviction; beyond it the marks used longest ago lapse."""

    def __post_init__(self) -> None:
        require_types(self)
        from foreword.cache.eviction import POLICIES  # here, as the fields are read without it where flags are made

        require(self.block_size > 0, f"block_size is {self.block_size}; it must be at least 1 token.")
        require(0 <= self.ghost_ratio < 1e6, f"ghost_ratio is {self.ghost_ratio}; it must be between 0 and 1e6.")
        require(0 <= self.mark_budget <= 1, f"mark_budget is {self.mark_budget}; it is a share, between 0 and 1.")
        known = ", ".join(POLICIES)
        require(
            self.eviction_policy in POLICIES,
            f"eviction_policy is {self.eviction_policy!r}; known policies: {known}.",
        )


@dataclass(frozen=True, kw_only=True)
class CacheConfig(CacheOptions):
    """Options of a PrefixCache."""

    num_blocks: int = 1024
    """Blocks of KV memory to manage."""
    stores: bool = False
    """Whether there is a lower tier, to which blocks are given."""
    first_use_share: float = 2.0
    """Tokens given to it at their first use, as a share of those that memory holds, before anything has come back."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.num_blocks > 0, f"num_blocks is {self.num_blocks}; a cache needs at least 1 block.")
        require(self.first_use_share >= 0, f"first_use_share is {self.first_use_share}; it must be 0 or more.")
        super().__post_init__()
