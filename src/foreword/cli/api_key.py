"""foreword api-key: make an API key for a tenant."""

from typing import Annotated

import typer
from rich.console import Console

from foreword.lazy import extra_needed


def api_key(tenant: Annotated[str, typer.Argument(help="Name of the tenant; no spaces.")]) -> None:
    """Make an API key. The line for --api-keys-file goes to standard output, the key itself to standard error, once.

    Example:  foreword api-key alice >> keys.txt
    """
    with extra_needed("This command", "server"):
        from foreword.server.tenants import new_key

    key, line = new_key(tenant)
    Console(stderr=True).print(f"Key of {tenant}: {key}  (it is stored nowhere; keep it)", highlight=False, soft_wrap=True)
    typer.echo(line)
