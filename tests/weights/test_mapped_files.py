"""Pages of mapped weights go back to the system, and are there again when they are touched."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foreword.weights.mapped_files import forget_mapped_pages

STATUS = Path("/proc/self/status")


def resident_file_bytes() -> int:
    found = re.search(r"RssFile:\s*(\d+) kB", STATUS.read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say what is resident")
def test_pages_of_mapped_weights_are_let_go_and_can_be_read_again(tmp_path: Path) -> None:
    size, path = 2**24, tmp_path / "weights.safetensors"
    save_file({"weight": torch.arange(size, dtype=torch.float32)}, path)
    weight = load_file(path)["weight"]
    total = weight.sum()
    before = resident_file_bytes()
    forget_mapped_pages([path])
    assert before - resident_file_bytes() > 0.9 * 4 * size
    assert torch.equal(weight.sum(), total)


def test_files_that_are_not_mapped_and_systems_that_do_not_tell_are_passed_over(tmp_path: Path) -> None:
    forget_mapped_pages([tmp_path / "none.safetensors"])
    forget_mapped_pages([tmp_path / "none.safetensors"], maps=tmp_path / "none")
