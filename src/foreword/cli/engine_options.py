"""An engine's options as flags, the model as an argument, and the engine made from them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreword.cli.config_flags import Flags
from foreword.config import values_for
from foreword.engine.config import EngineConfig
from foreword.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from foreword import LLM
    from foreword.account import Account

ModelArgument = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="The model, as --model names it.", show_default=False)
]
SAMPLING = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""Sampling parameters that commands offer."""


def tokens_for_everyone(given: dict[str, Any]) -> dict[str, Any]:
    """Options of an engine, with a step that takes a token of every running request where no step was named."""
    if "max_num_seqs" in given and "max_num_batched_tokens" not in given:
        tokens = max(EngineConfig.max_num_batched_tokens, given["max_num_seqs"])
        return {**given, "max_num_batched_tokens": tokens}
    return given


EngineFlags = Annotated[EngineConfig, Flags(complete=tokens_for_everyone)]
"""All options of an engine."""
LocalFlags = Annotated[EngineConfig, Flags(without=("seed",), complete=tokens_for_everyone)]
"""Those of an engine whose requests have a seed of their own."""


def with_model(engine: EngineConfig, model: str | None) -> EngineConfig:
    """The options with the model that was named as an argument; ConfigError if --model or FOREWORD_MODEL names another."""
    if model is None or model == engine.model:
        return engine
    if engine.model is not None:
        raise ConfigError(
            f"The model is given twice: {model!r} as an argument, {engine.model!r} by --model or FOREWORD_MODEL. "
            f"Give one of them."
        )
    return replace(engine, model=model)


def model_first(engine: EngineConfig, words: list[str]) -> tuple[EngineConfig, list[str]]:
    """The options with the model, and the other words, where the first of them is a model's directory or GGUF file."""
    if words and ((Path(words[0]) / "config.json").is_file() or words[0].endswith(".gguf")):
        return with_model(engine, words[0]), words[1:]
    return engine, words


@contextmanager
def collections_paused() -> Iterator[None]:
    """Inside, nobody looks for cyclic garbage: imports and loading make hundreds of thousands of objects that stay, and each
    search would go through all of them (a tenth of a start)."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def loading(console: "Console", engine: EngineConfig) -> Iterator[None]:
    """A spinner while an engine is loaded."""
    with console.status(f"Loading {engine.model or 'the table reader in the package'} ..."), collections_paused():
        yield


def load(console: "Console", engine: EngineConfig) -> "LLM":
    """Load an engine, with a spinner."""
    with loading(console, engine):
        from foreword import LLM

        return LLM(**values_for(EngineConfig, engine))


def sources_in_words(account: "Account") -> str:
    """Where a prompt's tokens came from: "12 cached + 3 shared in flight + 5 computed"; stores only if they brought any."""
    told = [(source, count) for source, count in account.by_source.items() if count or not source.startswith("stored")]
    return " + ".join(f"{count} {source.replace('_', ' ')}" for source, count in told)


def report_verification(console: "Console", llm: "LLM") -> None:
    """Say what --verify-cache has found, if it was asked for."""
    report = llm.engine.verify_report()
    if report.checked or report.skipped:
        console.print(
            f"Verified {report.checked} hits ({report.skipped} skipped for want of blocks): "
            f"{report.values_differing:,} of {report.values_compared:,} cached numbers and "
            f"{report.logits_differing:,} logits differ."
        )
