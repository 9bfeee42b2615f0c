"""Signals that must not end a server. They are noted by whoever is there first, and acted upon by the server, once it runs.

SIGHUP asks for the API keys to be read again. SIGUSR1 and SIGUSR2 mean nothing, but would end the process. SIGPIPE is
ignored by Python. SIGINT and SIGTERM are the server's own; before it runs they end the process.
"""

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

NOTED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
MOST = 100
"""Signals that are remembered until somebody acts upon them."""


@contextmanager
def noted_signals() -> Iterator[deque[int]]:
    """The numbers of such signals, as they come, while the block lasts; in the main thread only, elsewhere none come."""
    noted: deque[int] = deque(maxlen=MOST)
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in NOTED}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
