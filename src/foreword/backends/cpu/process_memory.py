"""What the process holds: freed memory stays between two operations; what loading left behind goes back to the system.

A step allocates and frees the same megabytes again and again. By default glibc maps each block anew, and the system clears
every page of it: tens of thousands of page faults a step. Kept in the process, the pages are there when they are asked for.
"""

import ctypes
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

MADV_DONTNEED = 4
MAPS = Path("/proc/self/maps")
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


def forget_mapped_pages(files: Collection[Path]) -> None:
    """Let go of the pages of files that are mapped, and were not written to: they are read again when they are touched.

    Weights are mapped, and each is read once, to be packed. Nothing where the system does not say what is mapped.
    """
    names = {str(file.resolve()) for file in files}
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] in names:
            begin, end = (int(address, 16) for address in fields[0].split("-"))
            madvise(begin, end - begin, MADV_DONTNEED)
