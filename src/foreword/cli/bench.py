"""foreword bench: four ways of sharing prefixes, measured beside what the machine could do at most."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from foreword.cli.bench_tables import profile_table, result_table
from foreword.cli.config_flags import config_flags
from foreword.cli.engine_options import EngineFlags, loading, model_first
from foreword.config import values_for
from foreword.engine.config import EngineConfig
from foreword.lazy import extra_needed

if TYPE_CHECKING:
    from foreword.engine.build import EngineParts


@config_flags
def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [WORKLOAD]...",
            help="table, crowd, chat, long; default: all four. The directory of a model may stand before them.",
            show_default=False,
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Repetitions; medians are printed.")] = 3,
    scale: Annotated[
        float, typer.Option(min=0.001, max=8.0, help="Times all lengths; what is too long for the model is cut.")
    ] = 1.0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Instead of workloads: where the time of a prefill and of a decode step goes.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Also write everything to this file.")
    ] = None,
    *,
    engine: EngineFlags,
) -> None:
    """Measure this engine on this machine: random tokens, greedy, every length exact.

    **table** asks one question after another about one text, **crowd** many at once, **chat** leads conversations under one
    system prompt, **long** puts a small batch behind a very long prefix. Beside each figure stands its bound: the time that
    the model's arithmetic and bytes take at the machine's own rates, which are measured in the same run.
    """
    with extra_needed("This command", "engine"):
        from foreword.bench import choose_workloads, machine
        from foreword.engine.build import make_parts

    console = Console()
    engine, words = model_first(engine, workloads or [])
    with loading(console, engine):
        parts = make_parts(engine)
    options = values_for(EngineConfig, engine)
    report: dict[str, Any] = {"machine": machine(), "model": parts.info.model_name, "options": options}
    if profile:
        report |= _profile(console, parts, repeat)
    else:
        chosen = choose_workloads(words, scale, parts.info.max_model_len)
        report |= _workloads(console, parts, chosen, repeat)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")


def _workloads(console: Console, parts: "EngineParts", chosen: list[Any], repeat: int) -> dict[str, Any]:
    """Run the workloads and print a table for each."""
    from foreword.bench import StepCosts, repeat_workloads

    costs = StepCosts()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {each.name: bars.add_task(each.name, total=each.requests * repeat) for each in chosen}
        results, limits = repeat_workloads(
            parts, parts.engine(costs), chosen, repeat, lambda name: bars.advance(tasks[name])
        )
    for result in results:
        console.print(result_table(result))
    console.print(
        f"Bounds from {limits.gflops:,.0f} GFLOP/s (linear layers {limits.linear_gflops:,.0f}) and "
        f"{limits.read_gb_s:.1f} GB/s, the best of this run. At 100 % an engine would waste nothing.",
        highlight=False,
    )
    figures = [result.as_json() for result in results]
    return {"limits": vars(limits), "results": figures, "cost_model": costs.as_json()}


def _profile(console: Console, parts: "EngineParts", repeat: int) -> dict[str, Any]:
    """Print where a step's time goes."""
    from foreword.bench import profile, watching_others

    load: dict[str, Any] = {}
    with console.status("Profiling ..."), watching_others(load):
        phases = profile(parts, repeat)
    console.print(profile_table(phases))
    console.print(f"Medians; other programs used {load['other_cores']:.2f} cores meanwhile.", highlight=False)
    return {"profile": [phase.as_json() for phase in phases], **load}
