"""foreword chat: a conversation in the terminal, with the cache's share of every turn."""

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.engine_options import SAMPLING, LocalFlags, ModelArgument, load, with_model
from foreword.cli.word_wrap import WordWrap
from foreword.sampling_params import SamplingParams

if TYPE_CHECKING:
    from foreword import LLM, RequestOutput

HELP = """/help   this text
/reset  forget the conversation, but not the system message
/exit   end; so do /quit, an empty line and Ctrl-D
Ctrl-C ends an answer, or drops the line that is being typed. A line that begins with a space is sent even if a / follows."""

ENDS = ("", "/exit", "/quit")


@config_flags
def chat(
    model: ModelArgument = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    system_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the system message.")
    ] = None,
    *,
    engine: LocalFlags,
    params: Annotated[SamplingParams, Flags(only=SAMPLING, defaults={"max_tokens": 200, "temperature": 0.0})],
) -> None:
    """Talk with a model. Every turn sends the whole conversation; see how little of it is computed.

    An empty line, /exit or Ctrl-D ends the conversation, Ctrl-C ends an answer or drops a line; /help tells the rest.
    """
    console = Console()
    llm = load(console, with_model(engine, model))
    if system_file is not None:
        system = system_file.read_text()
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    with suppress(ImportError):
        importlib.import_module("readline")  # input() then has line editing and history; Windows has none
    if sys.stdin.isatty():
        console.print("[dim]/help tells what can be typed beside questions; an empty line ends.[/dim]")
    while (line := _ask()) is not None:
        if line == "/reset":
            messages = list(start)
            console.print("[dim]The conversation is forgotten.[/dim]")
        elif line.startswith("/"):
            known = "" if line == "/help" else f"There is no command {line.split()[0]}.\n"
            console.print(known + HELP, style="dim", markup=False, highlight=False)
        else:
            messages.append({"role": "user", "content": line.strip()})
            text, output = _answer(console, llm, messages, params)
            messages.append({"role": "assistant", "content": text})
            if output is not None:
                _account(console, output)


def _ask() -> str | None:
    """The next line; None when the conversation ends. Ctrl-C drops what was typed and asks anew: no conversation is lost."""
    while True:
        try:
            line = input("You: ")
            break
        except KeyboardInterrupt:
            print("  (Ctrl-D ends the conversation)")
        except EOFError:
            return None
    return None if line.strip() in ENDS else line.rstrip()


def _answer(
    console: Console, llm: "LLM", messages: list[dict[str, Any]], params: SamplingParams
) -> "tuple[str, RequestOutput | None]":
    """Write an answer as it comes; its text, and the output with its account."""
    text, output = "", None
    wrap = WordWrap(lambda piece: (sys.stdout.write(piece), sys.stdout.flush()), console.width)
    try:
        for output in llm.stream(llm.render_chat(messages), params):
            new = output.outputs[0].text[len(text) :]
            text += new
            wrap.write(new)
    except KeyboardInterrupt:
        wrap.write(" (stopped)")
    wrap.flush()
    console.print()
    return text, output


def _account(console: Console, output: "RequestOutput") -> None:
    ttft = output.metrics.time_to_first_token or 0.0
    console.print(
        f"[dim]{output.num_cached_tokens} of {output.account.prompt_tokens} prompt tokens reused; "
        f"first token after {ttft * 1000:.0f} ms[/dim]"
    )
