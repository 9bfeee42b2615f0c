"""foreword serve: the engine over HTTP, for OpenAI and Anthropic clients."""

from typing import Annotated

import typer
from rich.console import Console

from foreword.cli.options import Attention, CacheMemory, NoCache, VerifyCache, extra_needed


def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="Directory or hub name in Hugging Face layout; default: the table reader in the package."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="The model's name towards clients.")] = None,
    api_keys_file: Annotated[
        str | None, typer.Option(help="File with a line for each API key, as 'foreword api-key' prints them.")
    ] = None,
    share: Annotated[
        str,
        typer.Option(
            help="Who may use whose cached prefixes: 'tenant', 'public-prefix' (system prompts and tools) or 'all'."
        ),
    ] = "tenant",
    max_queue: Annotated[int, typer.Option(min=0, help="Sequences that may wait.")] = 256,
    max_requests_per_key: Annotated[int, typer.Option(min=1, help="Open requests of one API key.")] = 64,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request body.")] = 8,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Longest prompt.")] = None,
    request_timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 600.0,
    drain_timeout: Annotated[float, typer.Option(min=0, help="Seconds that open requests get at shutdown.")] = 30.0,
    operator: Annotated[
        list[str] | None,
        typer.Option(help="Tenant whose keys may see the dashboard with the figures of all; can be repeated."),
    ] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write the text of prompts into the log.")] = False,
    max_model_len: Annotated[int | None, typer.Option(min=2, help="Longest prompt and answer together, in tokens.")] = None,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Sequences that run at a time.")] = 64,
    no_prefix_caching: NoCache = False,
    attention: Attention = "tiled",
    kv_cache_mb: CacheMemory = None,
    mark_budget: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the cache that marked prefixes may keep from eviction.")
    ] = 0.5,
    verify_cache: VerifyCache = 0.0,
) -> None:
    """Serve a model over HTTP: OpenAI's and Anthropic's API, metrics, health.

    Point a client's base_url at it:  http://127.0.0.1:8000/v1  (OpenAI) or  http://127.0.0.1:8000  (Anthropic).
    API keys come from --api-keys-file and from FOREWORD_API_KEYS (TENANT:KEY, comma-separated); without any, all may ask.
    """
    with extra_needed("server"):
        from foreword.server.start import make_server
    from foreword.engine import Engine, EngineConfig
    from foreword.server.config import ServerConfig
    from foreword.server.tenants import load_tenants

    config = ServerConfig(
        host=host,
        port=port,
        served_model_name=served_model_name,
        api_keys_file=api_keys_file,
        share=share,
        max_body_bytes=max_body_mb * 2**20,
        max_prompt_tokens=max_prompt_tokens,
        max_queue=max_queue,
        max_requests_per_key=max_requests_per_key,
        request_timeout=request_timeout,
        drain_timeout=drain_timeout,
        operators=tuple(operator or ()),
        log_prompts=log_prompts,
    )
    engine = EngineConfig(
        model=model,
        max_model_len=max_model_len,
        attention=attention,
        enable_prefix_caching=not no_prefix_caching,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max(EngineConfig.max_num_batched_tokens, max_num_seqs),
        kv_cache_memory_bytes=None if kv_cache_mb is None else kv_cache_mb * 2**20,
        mark_budget=mark_budget,
        verify_cache=verify_cache,
    )
    tenants = load_tenants(config.api_keys_file)
    with Console(stderr=True).status(f"Loading {model or 'the table reader in the package'} ..."):
        server = make_server(lambda: Engine(engine), config, tenants)
    server.run()
