"""foreword store: what lies in a folder of stored KV; check it, and clear it away."""

import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreword.config import size_in_bytes
from foreword.errors import ParameterError, StoreFailed
from foreword.lazy import extra_needed

if TYPE_CHECKING:
    from foreword.tiers.report import StoreReport

MIB = 2**20


class Action(StrEnum):
    """What is done with the store."""

    LS = "ls"
    CHECK = "check"
    GC = "gc"
    RM = "rm"


def store(
    action: Annotated[
        Action, typer.Argument(help="ls: what is there; check: read all of it; gc: clear up; rm: remove packs.")
    ],
    path: Annotated[Path, typer.Argument(help="The folder, as given to --store.")],
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="For gc: what may stay (20GB, 512MiB); packs used least recently go.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", help="For rm: only packs of this identity (its first digits, as ls shows).")
    ] = None,
) -> None:
    """Look at a folder of stored KV, check it, or clear it away.

    Identities are models as they were fingerprinted: KV of one are never given to another. A server may be running: what is
    removed is computed again. check ends with 1 if something is damaged.

    Example:  foreword store ls ~/.cache/foreword/store
    """
    if max_size is not None and action is not Action.GC:
        raise ParameterError(f"--max-size is for gc, got {max_size} for {action}.")
    if identity is not None and action is not Action.RM:
        raise ParameterError(f"--identity is for rm, got {identity!r} for {action}.")
    with extra_needed("foreword store", "tiers"):
        from foreword.tiers import report
    limit = None if max_size is None else size_in_bytes(max_size)
    try:
        if action in (Action.LS, Action.CHECK):
            found = report.list_store(path) if action is Action.LS else report.check_store(path)
        else:
            gone = report.collect_garbage(path, limit) if action is Action.GC else report.remove_packs(path, identity)
            typer.echo(f"{gone.files:,} files removed, {gone.size / MIB:,.1f} MiB.")
            return
    except (OSError, sqlite3.Error) as error:
        raise StoreFailed(f"The store {path} failed: {error}.") from error
    _show(found)
    if action is Action.CHECK:
        raise typer.Exit(_show_damage(found))


def _show(found: "StoreReport") -> None:
    for each in found.identities:
        typer.echo(f"identity {each.digest[:12]}: {each.packs:,} packs, {each.size / MIB:,.1f} MiB")
        typer.echo(f"  blocks: {each.blocks:,}; prompts: {each.prompts:,}; blocks of the longest prefix: {each.longest:,}")
        typer.echo(f"  {each.text}")
    if not found.identities:
        typer.echo("No packs.")
    for file, reason in found.unreadable.items():
        typer.echo(f"{file}: {reason}")
    if found.set_aside:
        typer.echo(f"{found.set_aside:,} packs were set aside as they could not be read; `foreword store gc` removes them.")


def _show_damage(found: "StoreReport") -> int:
    """Returns the exit code."""
    for file, count in found.damaged.items():
        typer.echo(f"{file}: {count:,} blocks have a wrong checksum")
    typer.echo(f"{found.checked_blocks:,} blocks read, {sum(found.damaged.values()):,} damaged.")
    return int(bool(found.damaged or found.unreadable))
