"""foreword replay --replicas: a trace through simulated fleets."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foreword.errors import TraceError
from foreword.replay import Costs, ReplayConfig
from foreword.replay.fleet_config import FleetConfig
from foreword.replay.fleet_report import FLEET_COLUMNS, fleet_json, fleet_row
from foreword.replay.fleet_sweep import FleetCell, Offered, OpenTrace, by_crowds, fleet_sweep, offered, simulated_sizes


def replay_fleets(
    open_trace: OpenTrace, config: ReplayConfig, fleets: FleetConfig, costs: Costs
) -> tuple[Offered, list[FleetCell]]:
    """Replay a trace through every fleet that the options name."""
    cache, _ = simulated_sizes(config, fleets.scale)
    asked = offered(open_trace, cache.block_size, fleets.scale).by(fleets.crowds)
    return asked, list(fleet_sweep(by_crowds(open_trace, fleets.crowds), config, fleets, costs, asked))


def require_answers(cells: list[FleetCell], trace: Path) -> None:
    """TraceError if no fleet could answer anything."""
    if not any(cell.result.requests for cell in cells):
        raise TraceError(
            f"{trace} has no request that could be answered ({cells[0].result.refused} were refused: too long for a "
            f"replica's cache, or without a prompt). Give a larger --blocks."
        )


def print_fleets(
    console: Console, cells: list[FleetCell], asked: Offered, title: str, costs: Costs, config: ReplayConfig, scale: int
) -> None:
    """The table, and what is to be known of it."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for number, name in enumerate(FLEET_COLUMNS):
        table.add_column(name, justify="left" if number == 1 else "right")
    for cell in cells:
        table.add_row(*fleet_row(cell, asked))
    console.print(table)
    cache, scheduler = simulated_sizes(config, scale)
    refused = ", ".join(str(count) for count in dict.fromkeys(cell.result.refused for cell in cells))
    console.print(
        f"{asked.requests:,} requests; refused: {refused}. One cache without bounds hits {asked.hit_rate:.1%}. A replica "
        f"has {cache.num_blocks * cache.block_size * scale:,} tokens of cache and computes up to "
        f"{scheduler.max_num_batched_tokens * scale:,} a step. Imbalance: the most prompt tokens that a replica computed "
        f"over the mean; in turn: if each request went to whoever had least so far, wherever prefixes lie; shared out: the "
        f"same with all work known beforehand, the largest first to whoever has least; at least: what the longest prompt "
        f"alone makes of it. TTFT is predicted, from {costs.origin}.",
        highlight=False,
        soft_wrap=True,
    )


def fleet_report(cells: list[FleetCell], asked: Offered, title: str, costs: Costs, scale: int) -> dict[str, Any]:
    """What is written into the JSON file."""
    return {"trace": title, "costs": costs.origin, "scale": scale, **fleet_json(cells, asked)}
