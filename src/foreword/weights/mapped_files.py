"""Files that are mapped into memory: weights are mapped, and each is read once, to be packed."""

import ctypes
from collections.abc import Collection
from pathlib import Path

MADV_DONTNEED = 4
MAPS = Path("/proc/self/maps")


def forget_mapped_pages(files: Collection[Path], maps: Path = MAPS) -> None:
    """Let go of the pages of files that are mapped, and were not written to: they are read again when they are touched.

    Nothing where the system does not say, in ``maps``, what is mapped.
    """
    names = {str(file.resolve()) for file in files}
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] in names:
            begin, end = (int(address, 16) for address in fields[0].split("-"))
            madvise(begin, end - begin, MADV_DONTNEED)
