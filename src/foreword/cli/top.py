"""foreword top: the cache of a running server, live in the terminal."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from foreword.account import Source
from foreword.cli.explain import requests_table
from foreword.cli.options import HERE, Key, Url, cache_client

if TYPE_CHECKING:
    from foreword.server.operator.client import CacheClient

SOURCES = (
    (Source.CACHED, "green"),
    (Source.SHARED_IN_FLIGHT, "yellow"),
    (Source.STORED_LOCAL, "blue"),
    (Source.STORED_SHARED, "cyan"),
    (Source.COMPUTED, "red"),
)
BESIDE_BAR = 44
"""Columns of a panel that are not a bar: its frame, a source's name, its tokens, its share and its rate."""
BLOCKS = "▁▂▃▄▅▆▇█"


def top(
    url: Url = HERE,
    api_key: Key = "",
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the figures once and end.")] = False,
) -> None:
    """Show hits and misses by source and reason, prominent prefixes, the curve and the latest requests. Ctrl-C ends it."""
    console = Console()
    with cache_client(url, api_key) as client:
        before, now = None, client.get("counts")
        if once:
            console.print(screen(client, before, now, console.width, console.height + 20))
            return
        with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(client, before, now, console.width, console.height), refresh=True)
                time.sleep(interval)
                before, now = now, client.get("counts")


def screen(
    client: "CacheClient", before: dict[str, Any] | None, counts: dict[str, Any], width: int, height: int
) -> RenderableType:
    """All of it; fewer requests in a lower terminal, shorter bars in a narrower one."""
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(
        Panel(_sources(before, counts, width // 2), title="Prompt tokens"), Panel(_reasons(counts), title="Why hits ended")
    )
    grid.add_row(
        Panel(_prefixes(client.get("prefixes", limit=40)), title="Prominent prefixes"),
        Panel(_curve(client.get("curve"), client.get("savings")), title="Memory and savings"),
    )
    fleet = counts.get("fleet")
    replicas = [] if fleet is None else [Panel(_fleet(fleet), title="Replicas")]
    lines = 0 if fleet is None else 5 + len(fleet["replicas"])
    recent = client.get("recent", limit=max(3, height - 26 - lines))["requests"]
    return Group(grid, *replicas, requests_table(recent, width))


def _fleet(fleet: dict[str, Any]) -> RenderableType:
    table = Table(
        "replica", "process", "blocks", "work queued", "waiting", "running", "placed", "", box=None, padding=(0, 2)
    )
    for each in fleet["replicas"]:
        table.add_row(
            Text(each["name"]), Text(f"{each['host']}/{each['pid']}"), f"{each['blocks']:,}",
            f"{each['queue_seconds']:.1f} s", str(each["waiting"]), str(each["running"]), f"{each['placed']:,}",
            "leaving" if each["leaving"] else "",
        )  # fmt: skip
    of = max(1, fleet["prompt_tokens"])
    hits = ", ".join(f"{fleet[f'{name}_tokens'] / of:.1%} {name}" for name in ("available", "routed", "delivered"))
    return Group(
        f"Prefixes of prompts: {hits}; {fleet['routing_misses']:,} routing misses; imbalance {fleet['imbalance']:.2f}",
        f"Replicas joined: {fleet['joined']}, left: {fleet['left']}, lost: {fleet['lost']}; "
        f"requests that went on elsewhere: {fleet['resumed']}",
        table,
    )


def _sources(before: dict[str, Any] | None, counts: dict[str, Any], width: int) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    longest = min(20, max(0, width - BESIDE_BAR))
    elapsed = counts["now"] - before["now"] if before else 0
    for source, style in SOURCES:
        share = counts[source] / max(1, counts["prompt_tokens"])
        rate = f"{(counts[source] - before[source]) / elapsed:,.0f} /s" if before and elapsed > 0 else ""
        bar = Text("█" * round(longest * share), style=style)
        table.add_row(Text(source.replace("_", " "), no_wrap=True), f"{counts[source]:,}", f"{share:.0%}", bar, rate)
    drafts = f"{counts['accepted']:,} of {counts['drafted']:,} drafted tokens were right"
    return Group(f"[b]{counts['hit_rate']:.1%}[/b] not computed, {counts['requests']:,} requests; {drafts}", table)


def _reasons(counts: dict[str, Any]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row("", Text("requests", style="dim"), Text("computed", style="dim"))
    for reason, requests in sorted(counts["requests_by_reason"].items(), key=lambda pair: -pair[1])[:8]:
        table.add_row(reason.replace("_", " "), f"{requests:,}", f"{counts['missed_tokens_by_reason'].get(reason, 0):,}")
    return table


def _prefixes(found: dict[str, Any]) -> RenderableType:
    figures = (Column(no_wrap=True, min_width=least) for least in (9, 4, 10))
    table = Table.grid(*figures, Column(no_wrap=True, overflow="ellipsis", ratio=1), padding=(0, 1))
    prominent = sorted(
        found["prefixes"], key=lambda prefix: prefix["requests"] * (prefix["end"] - prefix["start"]), reverse=True
    )
    for prefix in prominent[:5]:
        share = prefix["saved_tokens"] / max(1, prefix["requests"] * (prefix["end"] - prefix["start"]))
        text = Text(" ".join(prefix["text"].split())[:96])
        table.add_row(f"{prefix['start']}–{prefix['end']}", f"{prefix['requests']} ×", f"{share:.0%} saved", text)
    for group in found["near_twins"][:2]:
        table.add_row(
            f"{group['position']}", f"{group['requests']} ×", "near-twins",
            Text(f"mend it: −{group['share_of_prefill']:.0%} prefill", style="yellow"),
        )  # fmt: skip
    return table


def _curve(curve: dict[str, Any], savings: dict[str, Any]) -> RenderableType:
    rates = [point["hit_rate"] for point in curve["points"]]
    highest = max([*rates, 1e-9])
    line = Text()
    today = 0.0
    for point in curve["points"]:
        here = point["tokens"] == curve["today_tokens"]
        today = point["hit_rate"] if here else today
        line.append(
            BLOCKS[round((len(BLOCKS) - 1) * point["hit_rate"] / highest)] * 3, style="bold cyan" if here else "blue"
        )
    of_all = f"{today / curve['unlimited']:.0%} of an infinite cache" if curve["unlimited"] else "no prefix came twice yet"
    doubled = max(0.0, next((rate for point, rate in zip(curve["points"], rates, strict=True)
                             if point["tokens"] > curve["today_tokens"]), today) - today)  # fmt: skip
    return Group(
        line,
        f"1/16 to 16 × today's {curve['today_tokens']:,} tokens: {of_all}; twice as much: +{100 * doubled:.1f} points",
        f"Saved {savings['tokens']:,} tokens, {savings['seconds']:.1f} s of {savings['prefill_seconds']:.1f} s prefill",
    )
