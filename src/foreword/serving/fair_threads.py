"""Threads for work that may take long, shared fairly by those who ask."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class FairThreads:
    """A few threads, as an event loop asks them: one piece of work at a time for each tenant, and tenants in turn.

    So whoever asks for much that takes long waits for himself; others wait for no more than one piece of his.
    """

    def __init__(self, size: int, name: str):
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._room = asyncio.Semaphore(size)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, tenant: str, function: Callable[[], T]) -> T:
        """What a function returns or raises. Cancelled before it begins it is never called; later it keeps its thread."""
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        await turn.acquire()
        try:
            await self._room.acquire()
        except BaseException:
            turn.release()
            raise

        def release(ended: asyncio.Future[T]) -> None:
            ended.exception()  # nobody may be there to hear of it
            self._room.release()
            turn.release()

        work = asyncio.get_running_loop().run_in_executor(self._threads, function)
        work.add_done_callback(release)
        return await asyncio.shield(work)

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
