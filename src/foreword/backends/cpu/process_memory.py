"""Memory that the process holds: what is freed stays between two operations; what loading left goes back to the system.

A step allocates and frees the same megabytes again and again. By default glibc maps each block anew, and the system clears
every page of it: tens of thousands of page faults a step. Kept in the process, the pages are there when they are asked for.
"""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 2**30
"""Free memory at the top of the heap that stays in the process, and the size from which a block is mapped by itself."""


def keep_freed_memory() -> bool:
    """Set the process's allocator so; False where there is no glibc. Memory that is kept is used again, by everything."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


def give_back_freed_memory() -> None:
    """Give to the system what is free now; nothing where there is no glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
