"""foreword replay: a trace through the cache and the scheduler, without a model."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from foreword.cache import CacheConfig
from foreword.cli.audit_input import STANDARD_INPUT, log_file
from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.replay_fleet import fleet_report, print_fleets, replay_fleets, require_answers
from foreword.errors import ConfigError, ParameterError, TraceError
from foreword.replay import (
    Cell,
    Costs,
    OptimumCell,
    ReplayConfig,
    TraceRequest,
    costs_from_report,
    grid,
    optima,
    read_trace,
    replay_with,
    sweep,
)
from foreword.replay.fleet_config import FleetConfig
from foreword.replay.fleet_report import fleet_svg
from foreword.replay.report import COLUMNS, optimum_row, row, svg
from foreword.replay.told import goes_on, told

REQUESTS_BETWEEN_UPDATES = 64
WIDTH_OF_A_PIPE = 160


@config_flags
def replay(
    trace: Annotated[
        Path, typer.Argument(help="Requests without their words, a line each, plain or packed with gzip; - for a pipe.")
    ],
    costs: Annotated[
        Path | None, typer.Option(help="Predict times from the steps in this file, which `foreword bench --json` wrote.")
    ] = None,
    svg_file: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the hit rate over the size of the cache.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all figures.")] = None,
    *,
    config: Annotated[ReplayConfig, Flags()],
    fleets: Annotated[FleetConfig, Flags()],
) -> None:
    """Replay a trace: what would a cache of this size and policy have saved, and how soon would the first tokens have come?

    Known are the traces of Mooncake and LMCache (`hash_ids`), sessions of coding agents (`reqs`), Azure's lengths (CSV), and
    what `foreword serve --trace FILE` writes of one's own server; the content tells which it is. The real cache and
    scheduler run, on a clock that the cost model moves. Nothing is kept of the trace: memory is that of the cache. With
    --replicas a fleet answers it, and a router chooses the replica of each request. The exit status is 2 for bad input.
    """
    console, notes = _console(), Console(stderr=True)
    predicted = _costs(config, costs)
    base = CacheConfig(block_size=config.block_size, ghost_ratio=0.0)
    caches = grid(base, config.blocks, config.policies())
    kinds: set[str] = set()
    if fleets.sizes():
        _replay_fleets(trace, config, fleets, predicted, svg_file, json_file)
        return
    with ExitStack() as stack:
        open_trace = _opened(stack, trace, len(caches) + config.optimum + config.told, notes)
        bars = stack.enter_context(_progress(notes))
        reading = partial(_requests, open_trace, bars, config.trace_block, kinds)
        bits = goes_on(reading("who goes on")) if config.told else None

        def asked(cache: CacheConfig) -> Iterator[TraceRequest]:
            requests = reading(_named(cache))
            return requests if bits is None else told(requests, bits)

        cells = list(sweep(caches, asked, partial(replay_with, config, predicted)))
        optimum = optima(reading("optimum"), caches) if config.optimum else []
    _require_requests(cells, trace)
    title = _title(trace, kinds)
    _print(console, cells, optimum, title, predicted, config)
    _write(svg_file, lambda: svg(cells, title, optimum))
    _write(json_file, lambda: json.dumps(_report(cells, optimum, title, predicted), indent=1) + "\n")


def _replay_fleets(
    trace: Path, config: ReplayConfig, fleets: FleetConfig, costs: Costs, svg_file: Path | None, json_file: Path | None
) -> None:
    console, notes = _console(), Console(stderr=True)
    kinds: set[str] = set()
    with ExitStack() as stack:
        open_trace = _opened(stack, trace, 2 + len(fleets.sizes()) * len(fleets.routers()), notes)
        bars = stack.enter_context(_progress(notes))
        asked, cells = replay_fleets(partial(_requests, open_trace, bars, config.trace_block, kinds), config, fleets, costs)
    require_answers(cells, trace)
    title = _title(trace, kinds)
    print_fleets(console, cells, asked, title, costs, config, fleets.scale)
    _write(svg_file, lambda: fleet_svg(cells, asked, title))
    _write(json_file, lambda: json.dumps(fleet_report(cells, asked, title, costs, fleets.scale), indent=1) + "\n")


def _title(trace: Path, kinds: set[str]) -> str:
    return f"{'stdin' if trace == STANDARD_INPUT else trace.name} ({', '.join(kinds)})"


def _named(cache: CacheConfig) -> str:
    return f"{cache.eviction_policy}, {cache.num_blocks * cache.block_size:,} tokens"


def _costs(config: ReplayConfig, file: Path | None) -> Costs:
    if file is None:
        return config.costs()
    if config.prefill_rate is not None:
        raise ConfigError("--costs and --prefill-rate both say what steps take: give one of them.")
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{file} cannot be read: {error}. It must be what 'foreword bench --json FILE' writes."
        ) from error
    return costs_from_report(report if isinstance(report, dict) else {}, str(file))


def _opened(stack: ExitStack, trace: Path, passes: int, notes: Console) -> Any:
    """What opens the trace anew: a pipe that is read once as it is, one that is read several times by way of a file."""
    if trace == STANDARD_INPUT and passes == 1:
        return lambda: sys.stdin.buffer
    file = stack.enter_context(log_file(trace, notes))
    return partial(file.open, "rb")


def _progress(notes: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[requests]:,} requests"))
    return Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=notes, transient=True, disable=not notes.is_terminal
    )


def _requests(
    open_trace: Any, bars: Progress, trace_block: int | None, kinds: set[str], name: str
) -> Iterator[TraceRequest]:
    """The trace's requests, with a bar of a name for the share of the file that has been read."""
    stream: IO[bytes] = open_trace()
    with stream:
        total = stream.seek(0, 2) if stream.seekable() else None
        if total is not None:
            stream.seek(0)
        task: TaskID = bars.add_task(name, total=total, requests=0)
        found, count = read_trace(stream, trace_block), 0
        kinds.add(found.kind)
        for count, request in enumerate(found.requests, start=1):
            if count % REQUESTS_BETWEEN_UPDATES == 0:
                bars.update(task, completed=stream.tell() if total is not None else 0, requests=count)
            yield request
        bars.update(task, completed=total or 0, requests=count)


def _require_requests(cells: list[Cell], trace: Path) -> None:
    if not any(cell.result.requests for cell in cells):
        refused = max(cell.result.refused for cell in cells)
        raise TraceError(
            f"{trace} has no request that could be answered ({refused} were refused: too long for the largest cache, or "
            f"without a prompt). Give a larger --blocks."
        )


def _print(
    console: Console, cells: list[Cell], optimum: list[OptimumCell], title: str, costs: Costs, config: ReplayConfig
) -> None:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number == 0 else "right")
    best = {each.tokens: each for each in optimum}
    for cell in cells:
        table.add_row(*row(cell, best.get(cell.tokens)))
    for each in optimum:
        table.add_row(*optimum_row(each))
    console.print(table)
    first = cells[0].result
    refused = ", ".join(str(count) for count in dict.fromkeys(cell.result.refused for cell in cells))
    waiting = "with the time spent waiting" if config.loop == "engine" else "of an idle machine"
    console.print(
        f"{first.requests:,} requests, {first.prompt_tokens:,} prompt tokens, {first.output_tokens:,} generated; refused: "
        f"{refused}. TTFT is predicted, {waiting}, from {costs.origin}.",
        highlight=False,
        soft_wrap=True,
    )


def _report(cells: list[Cell], optimum: list[OptimumCell], title: str, costs: Costs) -> dict[str, Any]:
    rows = [
        {
            "policy": each.cache.eviction_policy,
            "blocks": each.cache.num_blocks,
            "tokens": each.tokens,
            **each.result.as_json(),
        }
        for each in cells
    ]
    best = [{**asdict(each), "hit_rate": each.hit_rate} for each in optimum]
    return {"trace": title, "costs": costs.origin, "results": rows, "optimum": best}


def _write(file: Path | None, text: Any) -> None:
    if file is None:
        return
    try:
        file.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"{file} cannot be written: {error}.") from error


def _console() -> Console:
    """Standard output; the table is not squeezed where nobody's terminal bounds it."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_A_PIPE)
