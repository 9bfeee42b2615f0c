"""Memory that the process holds: what is freed stays between two operations; what loading left goes back to the system.

A step allocates and frees the same megabytes again and again. By default glibc maps each block anew, and the system clears
every page of it: tens of thousands of page faults a step. Kept in the process, the pages are there when they are asked for.
Weights lie in huge pages, where the system has them: a stream from memory begins anew in each page.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 2**30
"""Free memory at the top of the heap that stays in the process, and the size from which a block is mapped by itself."""
HUGE_PAGE = 2**21
MADV_COLLAPSE = 25
"""Linux's, from 6.1 on."""


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


def put_in_huge_pages(spans: Iterable[tuple[int, int]]) -> int:
    """Have the pages that hold mostly these spans of memory, (address, bytes), made huge ones, as far as the system can.

    What is in them stays. Bytes of those that are huge now: 0 where that is unknown to the system.
    """
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    held: Counter[int] = Counter()
    for address, size in spans:
        for begin in range(address // HUGE_PAGE * HUGE_PAGE, address + size, HUGE_PAGE):
            held[begin] += min(address + size, begin + HUGE_PAGE) - max(address, begin)
    mostly = [begin for begin, count in held.items() if 2 * count > HUGE_PAGE]
    return sum(HUGE_PAGE for begin in mostly if madvise(begin, HUGE_PAGE, MADV_COLLAPSE) == 0)
