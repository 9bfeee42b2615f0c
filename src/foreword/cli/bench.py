"""foreword bench: many questions behind one prefix, on this machine and this model."""

import random
import statistics
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from foreword.cli.options import Attention, CacheMemory, Model, load


def bench(
    model: Model = None,
    prefix: Annotated[int, typer.Option(min=1, help="Tokens that all prompts share.")] = 512,
    suffix: Annotated[int, typer.Option(min=1, help="Tokens of each prompt's own.")] = 24,
    questions: Annotated[int, typer.Option(min=2, help="Prompts, one after another.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens generated for each.")] = 16,
    attention: Attention = "tiled",
    kv_cache_mb: CacheMemory = None,
) -> None:
    """Measure first-token times with the cache off, cold and warm, on random tokens.

    Medians of one run; the three cases take turns, so that a busy machine slows them alike.
    """
    from foreword import SamplingParams

    console = Console()
    llms = {
        name: load(console, model, enable_prefix_caching=name == "on", attention=attention, kv_cache_mb=kv_cache_mb)
        for name in ("off", "on")
    }
    vocabulary = llms["on"].engine.model.vocab_size
    rng = random.Random(0)
    head = [rng.randrange(vocabulary) for _ in range(prefix)]
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    times: dict[str, list[float]] = {"off": [], "on": []}
    cached = 0
    for _ in track(range(questions), description="Asking", console=console, transient=True):
        ids = head + [rng.randrange(vocabulary) for _ in range(suffix)]
        for name, llm in llms.items():
            output = llm.generate({"prompt_token_ids": ids}, params)[0]
            times[name].append(output.metrics.time_to_first_token or 0.0)
            cached += output.num_cached_tokens
    cold, warm, off = times["on"][0], statistics.median(times["on"][1:]), statistics.median(times["off"])
    table = Table("", "first token", "prompt tokens computed")
    total = questions * (prefix + suffix)
    table.add_row("cache off (median)", f"{off * 1000:.1f} ms", f"{total:,}")
    table.add_row("cache on, first prompt", f"{cold * 1000:.1f} ms", "")
    table.add_row("cache on, later ones (median)", f"{warm * 1000:.1f} ms", f"{total - cached:,} in all")
    console.print(table)
    console.print(f"Warm first token {off / warm:.1f} times sooner; {cached / total:.0%} of the prompt tokens reused.")
