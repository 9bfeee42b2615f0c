"""Options of an engine."""

import os
from dataclasses import dataclass

from foreword.backends.cpu.attention import BACKENDS
from foreword.backends.cpu.kernels.attention import TILE
from foreword.backends.cpu.kv_memory import KV_DTYPES
from foreword.backends.cpu.packed_linear import QUANTIZATIONS
from foreword.cache import CacheConfig
from foreword.config import require
from foreword.sched import SchedulerConfig


@dataclass(frozen=True)
class EngineConfig:
    """Options of LLM and Engine. An unknown name, a value out of range or an impossible pair is a ConfigError."""

    model: str | None = None
    """Directory or hub name in Hugging Face layout; None: the table reader in the package."""
    dtype: str = "float32"
    """What is computed in; on CPU only float32 (``auto`` means that)."""
    quantization: str = "none"
    """``int8``: linear layers in int8, one scale a token and one an output channel."""
    kv_dtype: str = "float32"
    """What keys and values are kept in; ``bfloat16`` takes half the memory, and is slower: it is converted when read."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens; None: what the model was made for."""
    seed: int | None = None
    """Makes sampling without a seed of its own repeatable from one start to the next."""
    attention: str = "tiled"
    """Attention backend: ``tiled`` (bit-identical) or ``reference`` (plain, slow)."""
    enable_prefix_caching: bool = CacheConfig.enable_prefix_caching
    """Off: every prompt is computed whole."""
    block_size: int = CacheConfig.block_size
    """Tokens a block: 1, 2, 4, ... 256."""
    eviction_policy: str = CacheConfig.eviction_policy
    """``lru`` or ``protected-lru``."""
    mark_budget: float = CacheConfig.mark_budget
    """Share of the KV blocks that marked prefixes may keep from eviction."""
    kv_cache_memory_bytes: int | None = None
    """Memory for KV blocks; None: a quarter of what is free now, at most for max_num_seqs requests of full length."""
    max_num_seqs: int = SchedulerConfig.max_num_seqs
    """Requests that run at a time."""
    max_num_batched_tokens: int = SchedulerConfig.max_num_batched_tokens
    """Tokens computed in one step; longer prompts are computed in chunks."""
    max_wait_seconds: float = SchedulerConfig.max_wait_seconds
    """How long a request may be overtaken by others with a longer cached prefix."""
    verify_cache: float = 0.0
    """Share of the hits, 0 to 1, that are computed again while serving, to count the bits that differ."""
    self_test: bool = True
    """Check at start that a token's bits do not depend on its batch, on this machine."""

    def __post_init__(self) -> None:
        require(
            self.dtype in ("float32", "auto"),
            f"dtype is {self.dtype!r}; on CPU only 'float32' is computed with (weights of any dtype are converted).",
        )
        known = ", ".join(QUANTIZATIONS)
        require(self.quantization in QUANTIZATIONS, f"quantization is {self.quantization!r}; known: {known}.")
        require(self.kv_dtype in KV_DTYPES, f"kv_dtype is {self.kv_dtype!r}; known: {', '.join(KV_DTYPES)}.")
        require(self.max_model_len is None or self.max_model_len >= 2, f"max_model_len is {self.max_model_len}; minimum 2.")
        require(self.attention in BACKENDS, f"attention is {self.attention!r}; known backends: {', '.join(BACKENDS)}.")
        require(
            self.block_size >= 1 and TILE % self.block_size == 0,
            f"block_size is {self.block_size}; it must divide {TILE}: 1, 2, 4, ... {TILE}.",
        )
        require(0 <= self.verify_cache <= 1, f"verify_cache is {self.verify_cache}; it is a share, from 0 to 1.")
        require(
            not self.verify_cache or self.enable_prefix_caching,
            "verify_cache recomputes cache hits, but enable_prefix_caching is off: switch one of them.",
        )
        require(
            self.kv_cache_memory_bytes is None or self.kv_cache_memory_bytes > 0,
            f"kv_cache_memory_bytes is {self.kv_cache_memory_bytes}; it must be positive.",
        )
        self.scheduler_config()
        self.cache_config(num_blocks=1)

    def cache_config(self, num_blocks: int) -> CacheConfig:
        return CacheConfig(
            num_blocks=num_blocks,
            block_size=self.block_size,
            enable_prefix_caching=self.enable_prefix_caching,
            eviction_policy=self.eviction_policy,
            mark_budget=self.mark_budget,
        )

    def scheduler_config(self) -> SchedulerConfig:
        return SchedulerConfig(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_wait_seconds=self.max_wait_seconds,
        )

    def num_blocks(self, block_bytes: int, context: int) -> int:
        """Blocks that fit into the memory allowed. ConfigError when not even one does."""
        memory = self.kv_cache_memory_bytes
        if memory is None:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            enough = self.max_num_seqs * -(-context // self.block_size) * block_bytes
            memory = min(free // 4, enough)
        require(
            memory >= block_bytes,
            f"kv_cache_memory_bytes is {memory}, but one block of {self.block_size} tokens takes {block_bytes} bytes.",
        )
        return memory // block_bytes
