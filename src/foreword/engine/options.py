"""The options of LLM and AsyncLLM as editors know them: names and types of EngineConfig's fields. Imports no torch."""

from typing import TypedDict


class EngineOptions(TypedDict, total=False):
    """Every field of EngineConfig but the model; what each means is written there."""

    dtype: str
    quantization: str
    activation_bits: int
    kv_dtype: str
    max_model_len: int | None
    generation_config: str
    seed: int | None
    backend: str
    kernel_path: str
    kv_cache_memory_bytes: int | None
    store: str | None
    store_size_bytes: int
    store_daily_bytes: int | None
    shared_store: str | None
    store_key_file: str | None
    draft: str
    verify_cache: float
    self_test: bool
    kernel_cache_dir: str | None
    start_cache_dir: str | None
    block_size: int
    enable_prefix_caching: bool
    eviction_policy: str
    ghost_ratio: float
    mark_budget: float
    max_num_seqs: int
    max_num_batched_tokens: int
    max_wait_seconds: float
    lookahead: int
