"""foreword generate: answer prompts from the command line, a file or standard input."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.engine_options import SAMPLING, LocalFlags, load, model_first, report_verification, sources_in_words
from foreword.sampling_params import SamplingParams

if TYPE_CHECKING:
    from foreword import LLM, RequestOutput


@config_flags
def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [PROMPT]...",
            help="Prompts; '-' reads one from standard input. A model (its directory or GGUF file) may stand before them.",
            show_default=False,
        ),
    ] = None,
    prefix_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Text that stands before every prompt: computed once."),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Send each prompt as a user's message, in the model's chat template.")
    ] = False,
    *,
    engine: LocalFlags,
    params: Annotated[SamplingParams, Flags(only=SAMPLING, defaults={"max_tokens": 50, "temperature": 0.0})],
) -> None:
    """Answer one or more prompts, and say where each prompt's tokens came from.

    Example:  foreword generate --prefix-file table.md "Question: Who works in Boston? Your answer: "
    """
    console, notes = Console(), Console(stderr=True)
    engine, words = model_first(engine, prompts or [])
    given = [sys.stdin.read() if prompt == "-" else prompt for prompt in words or ["-"]]
    prefix = prefix_file.read_text() if prefix_file else ""
    llm = load(notes, engine)
    failed = False
    if engine.model is not None and not chat and llm.engine.text.template is not None:
        notes.print("[dim]This model has a chat template; the text is sent as it is. --chat uses the template.[/dim]")
    for output in _outputs(llm, [prefix + prompt for prompt in given], params, chat):
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


def _outputs(llm: "LLM", prompts: list[str], params: SamplingParams, chat: bool) -> "list[RequestOutput]":
    bar = len(prompts) > 1
    if chat:
        return llm.chat([[{"role": "user", "content": prompt}] for prompt in prompts], params, use_tqdm=bar)
    return llm.generate(prompts, params, use_tqdm=bar)
