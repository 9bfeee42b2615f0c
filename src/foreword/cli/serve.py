"""foreword serve: the engine over HTTP, for OpenAI and Anthropic clients.

An option is named as the field of ServerConfig or EngineConfig that it sets; four are easier to type in another form.
"""

import gc
from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.console import Console

from foreword.cli.options import Attention, CacheMemory, KVDtype, NoCache, Quantization, Seed, VerifyCache, extra_needed

ModelArgument = Annotated[
    str | None,
    typer.Argument(help="Directory or hub name in Hugging Face layout; default: the table reader in the package."),
]
KeysFile = Annotated[str | None, typer.Option(help="File with a line for each API key, as 'foreword api-key' prints them.")]
Share = Annotated[
    str,
    typer.Option(help="Who may use whose cached prefixes: 'tenant', 'public-prefix' (system prompts and tools) or 'all'."),
]
MaxRequests = Annotated[int, typer.Option(min=1, help="Open requests of one API key (without keys: of all).")]
SendTimeout = Annotated[float, typer.Option(help="Seconds that a client may leave a piece of its answer unread.")]
DrainTimeout = Annotated[float, typer.Option(min=0, help="Seconds that open requests get at shutdown.")]
IdleCheck = Annotated[float, typer.Option(help="Seconds without work after which the cache checks its own books.")]
Remembered = Annotated[int, typer.Option(min=1, help="Answers that a later request can be compared with or go on from.")]
Operators = Annotated[
    list[str] | None, typer.Option(help="Tenant whose keys may see the dashboard with the figures of all; can be repeated.")
]
MaxModelLen = Annotated[int | None, typer.Option(min=2, help="Longest prompt and answer together, in tokens.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Tokens computed in one step; longer prompts come in chunks.")]
EvictionPolicy = Annotated[str, typer.Option(help="What goes first from a full cache: 'lru' or 'protected-lru'.")]
MarkBudget = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the cache that marked prefixes may keep from eviction.")
]


def serve(
    model: ModelArgument = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="The model's name towards clients.")] = None,
    api_keys_file: KeysFile = None,
    share: Share = "tenant",
    max_queue: Annotated[int, typer.Option(min=0, help="Sequences that may wait.")] = 256,
    max_requests_per_key: MaxRequests = 64,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request body.")] = 8,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Longest prompt.")] = None,
    min_cached_tokens: Annotated[int, typer.Option(min=0, help="Shortest prompt that is cached; 0: any.")] = 0,
    max_choices: Annotated[int, typer.Option(min=1, help="Most continuations and prompts of one request.")] = 16,
    request_timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 600.0,
    body_timeout: Annotated[float, typer.Option(help="Seconds for a request's body to arrive.")] = 30.0,
    send_timeout: SendTimeout = 60.0,
    drain_timeout: DrainTimeout = 30.0,
    idle_check_seconds: IdleCheck = 10.0,
    remembered_answers: Remembered = 1000,
    operator: Operators = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write the text of prompts into the log.")] = False,
    quantization: Quantization = "none",
    kv_dtype: KVDtype = "float32",
    max_model_len: MaxModelLen = None,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Sequences that run at a time.")] = 64,
    max_num_batched_tokens: MaxTokens = None,
    no_prefix_caching: NoCache = False,
    attention: Attention = "tiled",
    block_size: Annotated[int, typer.Option(help="Tokens a block of the cache: 1, 2, 4, ... 256.")] = 16,
    kv_cache_mb: CacheMemory = None,
    eviction_policy: EvictionPolicy = "lru",
    mark_budget: MarkBudget = 0.5,
    verify_cache: VerifyCache = 0.0,
    seed: Seed = None,
) -> None:
    """Serve a model over HTTP: OpenAI's and Anthropic's API, metrics, health.

    Point a client's base_url at it:  http://127.0.0.1:8000/v1  (OpenAI) or  http://127.0.0.1:8000  (Anthropic).
    API keys come from --api-keys-file and from FOREWORD_API_KEYS (TENANT:KEY, comma-separated); without any, all may ask.
    """
    options = dict(locals())
    with extra_needed("server"):
        from foreword.server.build import make_server
    from foreword.engine import Engine, EngineConfig
    from foreword.server.tenants import load_tenants
    from foreword.serving.config import ServerConfig

    _in_the_configs_form(options, EngineConfig.max_num_batched_tokens)
    config, engine = ServerConfig(**_taken(options, ServerConfig)), EngineConfig(**_taken(options, EngineConfig))
    assert not options
    tenants = load_tenants(config.api_keys_file)
    with Console(stderr=True).status(f"Loading {model or 'the table reader in the package'} ..."):
        server = make_server(lambda: Engine(engine), config, tenants)
    # What loading left stays: a collection that went through all of it would stop everybody for a quarter of a second.
    gc.collect()
    gc.freeze()
    server.run()


def _in_the_configs_form(options: dict[str, Any], batched_tokens: int) -> None:
    """Options that have another name or unit on the command line; a step takes at least a token of every sequence."""
    memory = options.pop("kv_cache_mb")
    options["kv_cache_memory_bytes"] = None if memory is None else memory * 2**20
    options["max_body_bytes"] = options.pop("max_body_mb") * 2**20
    options["operators"] = tuple(options.pop("operator") or ())
    options["enable_prefix_caching"] = not options.pop("no_prefix_caching")
    options["max_num_batched_tokens"] = options["max_num_batched_tokens"] or max(batched_tokens, options["max_num_seqs"])


def _taken(options: dict[str, Any], config: type) -> dict[str, Any]:
    """Those that are fields of a config, taken out of the options."""
    return {field.name: options.pop(field.name) for field in fields(config) if field.name in options}
