"""foreword report: the dashboard of a run as one file."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from foreword.cli.options import HERE, Key, Url, cache_client
from foreword.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from foreword.server.operator.client import CacheClient

LOOKS = 300  # at the counts; at each one the server finds out more about why hits ended


def report(
    output: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("foreword-report.html"),
    url: Url = HERE,
    api_key: Key = "",
    requests: Annotated[
        int, typer.Option(min=1, max=500, help="Latest requests to take in, with their explanations.")
    ] = 100,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Price of this machine an hour, in US dollars, for the savings in money.")
    ] = None,
    priced_as: Annotated[
        str | None, typer.Option(help="Hosted model at whose prices the savings are counted; see 'foreword prices'.")
    ] = None,
) -> None:
    """Write a self-contained HTML file of a server's figures so far. It has texts of prompts in it."""
    with cache_client(url, api_key) as client:
        answers = collect(client, requests, price_per_hour, priced_as)
    try:
        output.write_text(page(answers), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}. Give another path.") from error
    Console().print(f"{output}: {answers['counts']['requests']} requests, {len(answers['recent']['requests'])} explained.")


def collect(
    client: "CacheClient", requests: int, price_per_hour: float | None = None, priced_as: str | None = None
) -> dict[str, Any]:
    """All answers the page asks for, by path."""
    for _ in range(LOOKS):
        if not client.get("counts")["unclassified"]:
            break
    answers = {
        "counts": client.get("counts"),
        "recent": client.get("recent", limit=requests),
        "prefixes": client.get("prefixes", limit=200),
        "curve": client.get("curve"),
        "savings": client.get("savings", price_per_hour=price_per_hour, model=priced_as),
    }
    for request in answers["recent"]["requests"]:
        path = f"explain/{request['request_id']}"
        try:
            answers[path] = client.get(path)
        except NotFoundError:
            continue  # forgotten meanwhile
    return answers


def page(answers: dict[str, Any]) -> str:
    """The dashboard with its scripts, styles and figures inside."""
    from foreword.server.operator.dashboard import FOLDER, SCRIPTS, STYLES

    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    for name in STYLES:
        style = (FOLDER / name).read_text(encoding="utf-8")
        text = text.replace(f'<link rel="stylesheet" href="{name}">', f"<style>{style}</style>")
    data = json.dumps({"made": time.strftime("%Y-%m-%d %H:%M"), "answers": answers}).replace("<", "\\u003c")
    embedded = f'<script type="application/json" id="report-data">{data}</script>\n'
    for name in SCRIPTS:
        script = (FOLDER / name).read_text(encoding="utf-8")
        text = text.replace(f'<script src="{name}"></script>', f"{embedded}<script>{script}</script>")
        embedded = ""
    return text.replace("<title>Foreword:", "<title>Report:")
