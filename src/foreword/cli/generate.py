"""foreword generate: answer prompts from the command line, a file or standard input."""

import sys
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
    VerifyCache,
    load,
    report_verification,
    sources_in_words,
)


def generate(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; '-' reads one from standard input.")] = None,
    prefix_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Text that stands before every prompt: computed once."),
    ] = None,
    model: Model = None,
    max_tokens: MaxTokens = 50,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    no_prefix_caching: NoCache = False,
    attention: Attention = "tiled",
    quantization: Quantization = "none",
    kv_dtype: KVDtype = "float32",
    kv_cache_mb: CacheMemory = None,
    verify_cache: VerifyCache = 0.0,
) -> None:
    """Answer one or more prompts, and say where each prompt's tokens came from.

    Example:  foreword generate --prefix-file table.md "Question: Who works in Boston? Your answer: "
    """
    from foreword import SamplingParams

    console, notes = Console(), Console(stderr=True)
    given = [sys.stdin.read() if prompt == "-" else prompt for prompt in prompts or ["-"]]
    prefix = prefix_file.read_text() if prefix_file else ""
    llm = load(
        notes,
        model,
        enable_prefix_caching=not no_prefix_caching,
        attention=attention,
        quantization=quantization,
        kv_dtype=kv_dtype,
        kv_cache_mb=kv_cache_mb,
        verify_cache=verify_cache,
    )
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed)
    failed = False
    for output in llm.generate([prefix + prompt for prompt in given], params, use_tqdm=len(given) > 1):
        if output.error is not None:
            failed = True
            notes.print(f"[red]Error:[/red] {output.error}", highlight=False)
            continue
        account = output.account
        console.print(output.outputs[0].text, highlight=False, markup=False)
        notes.print(
            f"[dim]{account.prompt_tokens} prompt tokens = {sources_in_words(account)}; "
            f"hit ended: {output.miss_reason}[/dim]",
            highlight=False,
        )
    report_verification(notes, llm)
    if failed:
        raise typer.Exit(2)
