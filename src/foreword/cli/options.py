"""Options that several commands share, and the engine made from them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from foreword import LLM

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Directory or hub name in Hugging Face layout; default: the table reader in the package."
    ),
]
NoCache = Annotated[bool, typer.Option("--no-prefix-caching", help="Compute every prompt whole.")]
Attention = Annotated[
    str, typer.Option(help="Attention backend: 'tiled' (same bits in any batch) or 'reference' (plain and slow).")
]
CacheMemory = Annotated[
    int | None, typer.Option("--kv-cache-mb", min=1, help="Memory for cached keys and values; default: by what is free.")
]
VerifyCache = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the hits to compute again, to count the bits that differ.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens to generate.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token; higher is more varied.")]
Seed = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]


def load(console: Console, model: str | None, **options: Any) -> "LLM":
    """Load an engine, with a spinner; megabytes become bytes."""
    from foreword import LLM

    megabytes = options.pop("kv_cache_mb", None)
    if megabytes is not None:
        options["kv_cache_memory_bytes"] = megabytes * 2**20
    with console.status(f"Loading {model or 'the table reader in the package'} ..."):
        return LLM(model, **options)


def report_verification(console: Console, llm: "LLM") -> None:
    """Say what --verify-cache has found, if it was asked for."""
    report = llm.verify_report()
    if report.checked or report.skipped:
        console.print(
            f"Verified {report.checked} hits ({report.skipped} skipped for want of blocks): "
            f"{report.values_differing:,} of {report.values_compared:,} cached numbers and "
            f"{report.logits_differing:,} logits differ."
        )
