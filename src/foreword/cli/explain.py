"""foreword explain: why a request hit or missed."""

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from foreword.account import Source
from foreword.cli.options import HERE, Key, Url, cache_client
from foreword.errors import ParameterError

WIDE = 100
"""Columns of a terminal in which a request with its reason is one line."""
PARTED = "▸"
"""Stands where two texts part, for terminals and files without colours."""


def explain_request(
    request_id: Annotated[
        str | None, typer.Argument(help="Id of an answer, or `last`; without one, the latest requests are listed.")
    ] = None,
    url: Url = HERE,
    api_key: Key = "",
    cache_salt: Annotated[str, typer.Option(help="Salt of the requests, where a key that is no operator's looks.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what the server said.")] = False,
) -> None:
    """Say why a request hit or missed: to the token, with the texts that part there."""
    console = Console()
    with cache_client(url, api_key, cache_salt) as client:
        if request_id == "last":
            request_id = newest(client.get("recent", limit=1)["requests"])
        found = client.get("recent", limit=20) if request_id is None else client.get(f"explain/{request_id}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif request_id is None:
        console.print(requests_table(found["requests"], console.width))
        console.print(found["kept"], style="dim")
    else:
        _print_explanation(console, found)


def newest(requests: list[dict[str, Any]]) -> str:
    """The id of the newest request. ParameterError if there is none."""
    if not requests:
        raise ParameterError("The server has answered no request yet: send one, then ask why it hit or missed.")
    return str(requests[0]["request_id"])


def requests_table(requests: list[dict[str, Any]], width: int) -> Table:
    """The latest requests, for a terminal of so many columns: where it is narrow, reasons and tenants stand below the ids.

    Ids are shown whole, to be pasted; they and tenants, which stand there where there are several, are never markup.
    """
    apart, several = width >= WIDE, len({request["tenant"] for request in requests}) > 1
    longest = max((len(request["request_id"]) for request in requests), default=0)
    columns = [
        Column("request", no_wrap=True, min_width=longest, ratio=None if apart else 1),
        *(Column(head, no_wrap=True, min_width=len(head), justify="right") for head in ("ago", "prompt", "reused")),
        *([Column("reason", ratio=2)] if apart else []),
        *([Column("tenant", ratio=1)] if apart and several else []),
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, expand=True)
    for request in requests:
        reused = sum(request[source] for source in Source if source is not Source.COMPUTED)
        share = f"{reused / max(1, request['prompt_tokens']):.0%}"
        figures = [f"{max(0, request['age']):.0f} s", str(request["prompt_tokens"]), share]
        name, words = request["request_id"], [request["reason"].replace("_", " ")]
        if several:
            words.append(request["tenant"] or "")
        cells = [name, *figures, *words] if apart else [f"{name}\n  {', '.join(words)}", *figures]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _print_explanation(console: Console, found: dict[str, Any]) -> None:
    reason = found["reason"].replace("_", " ") + (f": {found['detail'].replace('_', ' ')}" if found["detail"] else "")
    console.print(Text(f"{found['request_id']}: {reason}", style="bold"))
    place = f", {found['place']}" if found["place"] else ""
    console.print(Text(f"The hit ended at token {found['position']} of {found['prompt_tokens']}{place}."))
    sources = ", ".join(
        f"{found[source]} {source.replace('_', ' ')}" for source in (*Source, "unprocessed") if found[source]
    )
    console.print(
        f"Prompt tokens: {sources}." + (f" {found['recomputed']} were computed once more." if found["recomputed"] else "")
    )
    if found["drafted"]:
        console.print(f"Of the answer: {found['accepted']} of {found['drafted']} drafted tokens were right.")
    if found.get("placed"):
        console.print(Text(found["placed"]["words"]))
    nearest, eviction = found["nearest"], found["eviction"]
    if nearest:
        where = f"the {'answer' if nearest['in_answer'] else 'prompt'} of {nearest['request_id']}"
        alike = f"{nearest['alike_after']} tokens are alike after the difference"
        console.print(Text(f"Nearest cached prefix: {where}; {alike}."))
    if eviction:
        names = ", ".join(f"{name} ({tokens} tokens)" for name, tokens in eviction["pressure"]) or "others"
        when = ""
        if eviction["at"] is not None:
            when = f", {max(0.0, found['finished'] - eviction['at']):.1f} s before this answer ended"
        lost = f"{eviction['lost_tokens']} tokens more had been cached and were evicted"
        console.print(Text(f"{lost}{when}, to make room for {names}."))
    for title, key, style in (
        ("The cached prefix went on", "old_text", "red"),
        ("This prompt goes on", "new_text", "green"),
    ):
        if found[key]:
            console.print(f"{title}:", style="dim")
            text = Text.assemble(("…" + found["shared_text"], "dim"), (PARTED, "bold"), (found[key], style))
            console.print(Padding(text, (0, 0, 0, 2), expand=False))
