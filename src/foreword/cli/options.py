"""Options of the commands that ask a running server."""

from typing import TYPE_CHECKING, Annotated

import typer

from foreword.lazy import extra_needed

if TYPE_CHECKING:
    from foreword.server.operator.client import CacheClient

Url = Annotated[str, typer.Option("--url", "-u", help="The server.", envvar="FOREWORD_URL")]
Key = Annotated[
    str,
    typer.Option("--api-key", help="An operator's key, if the server has keys.", envvar="FOREWORD_API_KEY", hide_input=True),
]
HERE = "http://127.0.0.1:8000"


def cache_client(url: str, key: str, cache_salt: str = "") -> "CacheClient":
    """A client of the /v1/cache of the server at ``url``; a tenant's key sees requests of one salt at a time."""
    with extra_needed("This command", "server"):
        from foreword.server.operator.client import CacheClient
    return CacheClient(url, key, cache_salt)
