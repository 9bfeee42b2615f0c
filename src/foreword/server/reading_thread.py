"""The thread that reads long bodies."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from foreword.faults import run_carriable

T = TypeVar("T")


class ReadingThread:
    """Reads long bodies beside the event loop, one at a time: each more would make everybody else wait for one more turn.

    ``close`` ends the thread.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-bodies")

    async def run(self, function: Callable[[], T]) -> T:
        """What a function makes of a body; ServiceError for a fault that an event loop cannot carry."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, run_carriable, function, "Reading the body")

    def close(self) -> None:
        """End the thread; what has not begun is dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)
