"""Options that several commands share, and the engine made from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from foreword import LLM
    from foreword.account import Account
    from foreword.server.operator.client import CacheClient

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Directory or hub name in Hugging Face layout; default: the table reader in the package."
    ),
]
NoCache = Annotated[bool, typer.Option("--no-prefix-caching", help="Compute every prompt whole.")]
Attention = Annotated[
    str, typer.Option(help="Attention backend: 'tiled' (same bits in any batch) or 'reference' (plain, slow).")
]
Quantization = Annotated[
    str, typer.Option(help="Linear layers: 'none' (float32) or 'int8' (a quarter of the memory, faster, less exact).")
]
KVDtype = Annotated[
    str, typer.Option("--kv-dtype", help="What keys and values are kept in: 'float32' or 'bfloat16' (half the memory).")
]
CacheMemory = Annotated[
    int | None, typer.Option("--kv-cache-mb", min=1, help="Memory for cached keys and values; default: by what is free.")
]
VerifyCache = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the hits to compute again, to count the bits that differ.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens to generate.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token; higher is more varied.")]
Url = Annotated[str, typer.Option("--url", "-u", help="The server.", envvar="FOREWORD_URL")]
Key = Annotated[
    str, typer.Option("--api-key", help="An operator's API key, if the server has keys.", envvar="FOREWORD_API_KEY")
]
HERE = "http://127.0.0.1:8000"
Seed = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]


def load(console: Console, model: str | None, **options: Any) -> "LLM":
    """Load an engine, with a spinner; megabytes become bytes."""
    from foreword import LLM

    megabytes = options.pop("kv_cache_mb", None)
    if megabytes is not None:
        options["kv_cache_memory_bytes"] = megabytes * 2**20
    with console.status(f"Loading {model or 'the table reader in the package'} ..."):
        return LLM(model, **options)


def cache_client(url: str, key: str) -> "CacheClient":
    """A client of the /v1/cache of the server at ``url``."""
    with extra_needed("server"):
        from foreword.server.operator.client import CacheClient
    return CacheClient(url, key)


@contextmanager
def extra_needed(extra: str) -> Iterator[None]:
    """Imports inside need an extra of the package; what is missing is said, with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("foreword"):
            raise
        raise ImportError(
            f"This command needs the package {error.name!r}: install it with  pip install 'foreword[{extra}]'"
        ) from error


def sources_in_words(account: "Account") -> str:
    """Where a prompt's tokens came from: "12 cached + 3 shared in flight + 5 computed"."""
    return " + ".join(f"{count} {source.replace('_', ' ')}" for source, count in account.by_source.items())


def report_verification(console: Console, llm: "LLM") -> None:
    """Say what --verify-cache has found, if it was asked for."""
    report = llm.verify_report()
    if report.checked or report.skipped:
        console.print(
            f"Verified {report.checked} hits ({report.skipped} skipped for want of blocks): "
            f"{report.values_differing:,} of {report.values_compared:,} cached numbers and "
            f"{report.logits_differing:,} logits differ."
        )
