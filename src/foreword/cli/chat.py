"""foreword chat: a conversation in the terminal, with the cache's share of every turn."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from foreword.cli.options import (
    Attention,
    CacheMemory,
    KVDtype,
    MaxTokens,
    Model,
    NoCache,
    Quantization,
    Seed,
    Temperature,
    load,
)


def chat(
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    system_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the system message.")
    ] = None,
    model: Model = None,
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    no_prefix_caching: NoCache = False,
    attention: Attention = "tiled",
    quantization: Quantization = "none",
    kv_dtype: KVDtype = "float32",
    kv_cache_mb: CacheMemory = None,
) -> None:
    """Talk with a model. Every turn sends the whole conversation; see how little of it is computed.

    An empty line or Ctrl-D ends the conversation, Ctrl-C ends an answer.
    """
    from foreword import SamplingParams

    console = Console()
    llm = load(
        console,
        model,
        enable_prefix_caching=not no_prefix_caching,
        attention=attention,
        quantization=quantization,
        kv_dtype=kv_dtype,
        kv_cache_mb=kv_cache_mb,
    )
    if system_file is not None:
        system = system_file.read_text()
    messages = [{"role": "system", "content": system}] if system else []
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed)
    while True:
        try:
            question = console.input("[bold]You:[/bold] ").strip()
        except EOFError:
            return
        if not question:
            return
        messages.append({"role": "user", "content": question})
        text, output = "", None
        try:
            for output in llm.stream(llm.render_chat(messages), params):
                new = output.outputs[0].text[len(text) :]
                text += new
                console.print(new, end="", highlight=False, markup=False)
        except KeyboardInterrupt:
            console.print(" [dim](stopped)[/dim]", end="")
        console.print()
        messages.append({"role": "assistant", "content": text})
        if output is not None:
            ttft = output.metrics.time_to_first_token or 0.0
            console.print(
                f"[dim]{output.num_cached_tokens} of {output.account.prompt_tokens} prompt tokens reused; "
                f"first token after {ttft * 1000:.0f} ms[/dim]"
            )
