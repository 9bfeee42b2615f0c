"""Clients that go away while something is done for them."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client went away: there is nobody to answer."""


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Do something for a client; cancelled as soon as the client goes away (ClientGone)."""
    task = asyncio.current_task()
    assert task is not None
    watching = asyncio.ensure_future(_disconnect(receive))
    watching.add_done_callback(lambda watched: None if watched.cancelled() else task.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if watching.done() and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watching.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
