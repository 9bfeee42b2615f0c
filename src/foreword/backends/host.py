"""The machine that the process runs on: its memory, and what torch computes with."""

import os
import resource
from pathlib import Path

import torch

from foreword.backends.base import DeviceMemory

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may have: absent, or 'max', where there is no limit."""


def host_memory(limit_file: Path = MEMORY_LIMIT) -> DeviceMemory:
    """Memory that nobody uses, not even for files; and all there is, within the container's limit and the process's own."""
    page = os.sysconf("SC_PAGE_SIZE")
    free, total = (os.sysconf(name) * page for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
    if limit_file.exists() and (text := limit_file.read_text().strip()).isdigit():
        total = min(total, int(text))
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        total = min(total, space)
    return DeviceMemory(min(free, total), total)


def threads_in_words() -> str:
    """How many threads torch and the kernels use."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''}"


def torch_numerics() -> str:
    """What the bits of torch's own operations may depend on."""
    return f"torch-{torch.__version__}-{torch.backends.cpu.get_cpu_capability()}-{torch.get_num_threads()} threads"
