"""Memory of the process: huge pages."""

import mmap
import re
import sys
from pathlib import Path

import pytest
import torch

from foreword.backends.cpu.process_memory import HUGE_PAGE, put_in_huge_pages


def huge_kilobytes() -> int:
    """What the process has in huge pages."""
    return int(re.findall(r"AnonHugePages:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text())[0])


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has them")
def test_what_is_put_in_huge_pages_stays_as_it_is() -> None:
    held = mmap.mmap(-1, 4 * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = torch.frombuffer(held, dtype=torch.int32)
    memory.copy_(torch.arange(len(memory), dtype=torch.int32))
    before = huge_kilobytes()
    huge = put_in_huge_pages([(memory.data_ptr() + HUGE_PAGE, 2 * HUGE_PAGE)])
    if not huge:
        pytest.skip("this system cannot make pages huge")
    assert HUGE_PAGE <= huge <= 3 * HUGE_PAGE
    assert huge_kilobytes() - before == huge // 1024
    assert torch.equal(memory, torch.arange(len(memory), dtype=torch.int32))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has them")
def test_a_page_that_holds_mostly_other_things_stays_small() -> None:
    held = torch.zeros(4 * HUGE_PAGE, dtype=torch.uint8)
    first = -(-held.data_ptr() // HUGE_PAGE) * HUGE_PAGE
    assert put_in_huge_pages([(first, HUGE_PAGE // 4), (first + HUGE_PAGE // 2, HUGE_PAGE // 4)]) == 0


def test_memory_that_is_not_there_is_passed_over() -> None:
    assert put_in_huge_pages([(HUGE_PAGE, HUGE_PAGE)]) == 0
    assert put_in_huge_pages([]) == 0
