"""KV memory: what is stored where, and what the system has to give for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backends.batches import kept
from foreword.backends.base import LayerShape
from foreword.backends.cpu.kernels.target import best_target, targets
from foreword.backends.cpu.kv_memory import PanelMemory, block_bytes
from foreword.cache import CopyBlock
from foreword.errors import ConfigError

SHAPE = LayerShape(heads=2, key_size=16, value_size=8)
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
MIB = 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_kept_in_its_dtype(dtype: torch.dtype) -> None:
    memory = PanelMemory(best_target(), [SHAPE, SHAPE], num_blocks=4, block_size=16, dtype=dtype)
    keys, values, slots = torch.randn(2, 3, 16), torch.randn(2, 3, 8), torch.tensor([40, 1, 17])
    memory.write(1, slots, keys, values)
    for found, written in zip(memory.read(1, slots), (keys, values), strict=True):
        assert torch.equal(found, written.to(dtype))
    others = torch.tensor([slot for slot in range(64) if slot not in (40, 1, 17)])
    assert not any(part.any() for part in (*memory.read(1, others), *memory.read(0, torch.arange(64))))


def test_rounding_to_bfloat16_is_torchs() -> None:
    """To the nearest, to the even one of two; and what is not finite."""
    memory = PanelMemory(best_target(), [SHAPE], num_blocks=1, block_size=16, dtype=torch.bfloat16)
    keys, values, slots = torch.randn(2, 5, 16), torch.randn(2, 5, 8), torch.arange(5)
    for part in (keys, values):
        part[0, :, 0] = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, 1.00390625])
    memory.write(0, slots, keys, values)
    for found, written in zip(memory.read(0, slots), (keys, values), strict=True):
        torch.testing.assert_close(found, written.bfloat16(), rtol=0, atol=0, equal_nan=True)


def test_numbers_of_a_token_need_not_stand_side_by_side() -> None:
    memory = PanelMemory(best_target(), [SHAPE], num_blocks=4, block_size=16, dtype=torch.float32)
    keys, values, slots = torch.randn(16, 20, 2), torch.randn(20, 8, 2).transpose(0, 1), torch.randperm(64)[:20]
    memory.write(0, slots, keys.permute(2, 1, 0), values.permute(2, 1, 0))
    found = memory.read(0, slots)
    assert torch.equal(found[0], keys.permute(2, 1, 0))
    assert torch.equal(found[1], values.permute(2, 1, 0))


@pytest.mark.parametrize("path", [target.path for target in targets()])
def test_int8_has_one_scale_for_a_token_s_key_and_one_for_its_value_in_each_head(path: str) -> None:
    """As written down plainly; what is no number makes all of its token's key, or value, none."""
    shape = LayerShape(heads=2, key_size=24, value_size=20)
    memory = PanelMemory(targets(path)[0], [shape], num_blocks=4, block_size=16, dtype=torch.int8)
    keys, values, slots = torch.randn(2, 21, 24), torch.randn(2, 21, 20), torch.randperm(64)[:21]
    keys[:, 1], keys[1, 2], values[0, 3] = 0, 1e-38, 3e30
    expected = [kept(part, "int8") for part in (keys, values)]
    keys[0, 4, 7], values[1, 5, 19] = float("nan"), float("inf")
    memory.write(0, slots, keys, values)
    found = memory.read(0, slots)
    assert found[0][0, 4].isnan().all()
    assert not found[1][1, 5].isfinite().any()
    for part, plain in zip(found, expected, strict=True):
        plain[~part.isfinite()] = part[~part.isfinite()]
        torch.testing.assert_close(part, plain, rtol=0, atol=0, equal_nan=True)
    assert int(sum((~part.isfinite()).sum() for part in found)) == 24 + 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize(("block_size", "tokens"), [(1, 1), (4, 3), (16, 5), (16, 16), (64, 1), (64, 37)])
def test_a_copy_takes_the_first_tokens_of_a_block_in_every_layer(dtype: torch.dtype, block_size: int, tokens: int) -> None:
    memory = PanelMemory(best_target(), [SHAPE, SHAPE], num_blocks=4, block_size=block_size, dtype=dtype)
    slots = torch.arange(4 * block_size)
    for layer in range(2):
        memory.write(layer, slots, torch.randn(2, len(slots), 16), torch.randn(2, len(slots), 8))
    before = [part for layer in range(2) for part in memory.read(layer, slots)]
    memory.copy([CopyBlock(source=3, target=1, tokens=tokens)])
    after = [part for layer in range(2) for part in memory.read(layer, slots)]
    for found, old in zip(after, before, strict=True):
        expected = old.clone()
        expected[:, block_size : block_size + tokens] = old[:, 3 * block_size : 3 * block_size + tokens]
        assert torch.equal(found, expected)


def test_bytes_of_a_block() -> None:
    for dtype, size in ((torch.float32, 4 * 32), (torch.bfloat16, 2 * 32), (torch.int8, 32 + 8)):
        memory = PanelMemory(best_target(), [SHAPE] * 3, num_blocks=10, block_size=4, dtype=dtype)
        assert block_bytes([SHAPE] * 3, 4, dtype) == 3 * 2 * 4 * size, "whole panels of values, and scales"
        tensors = [*memory.keys, *memory.values]
        assert sum(tensor.nbytes for tensor in tensors) == 12 * block_bytes([SHAPE] * 3, 4, dtype), "whole panels of slots"


def test_memory_that_the_system_does_not_give_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"does not give \d+ bytes .* Set kv_cache_memory_bytes lower"):
        PanelMemory(best_target(), [SHAPE], num_blocks=2**46, block_size=16, dtype=torch.float32)


@ON_LINUX
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_taken_when_it_is_used(dtype: torch.dtype) -> None:
    """Two GiB are promised; what is resident grows with what is stored."""
    shape = LayerShape(heads=2, key_size=64, value_size=64)
    block = block_bytes([shape], 16, dtype)
    before = resident_bytes()
    memory = PanelMemory(best_target(), [shape], num_blocks=2 * 2**30 // block, block_size=16, dtype=dtype)
    assert resident_bytes() - before < 16 * MIB
    tokens = 64 * MIB // (block // 16)
    memory.write(0, torch.arange(tokens), torch.ones(2, tokens, 64), torch.ones(2, tokens, 64))
    assert 60 * MIB < resident_bytes() - before < 64 * MIB * 4 / dtype.itemsize + 200 * MIB


SECOND_MEMORY = """
from pathlib import Path
import torch
from foreword.backends.cpu.process_memory import keep_freed_memory
from foreword.backends.base import LayerShape
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.kv_memory import PanelMemory

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory()
shape = LayerShape(heads=2, key_size=64, value_size=64)
for _ in range(2):
    before = resident_pages()
    memory = PanelMemory(best_target(), [shape], num_blocks=2**30 // 32768, block_size=16, dtype=torch.float32)
    print(resident_pages() - before)
    del memory
"""


@ON_LINUX
def test_a_second_memory_takes_no_more_than_the_first() -> None:
    """One GiB given back and asked for again: an allocator that kept it would clear it, and so touch every page."""
    run = subprocess.run([sys.executable, "-c", SECOND_MEMORY], capture_output=True, text=True, check=True, timeout=240)
    assert max(map(int, run.stdout.split())) * os.sysconf("SC_PAGE_SIZE") < 16 * MIB


PAGE_FAULTS = """
import resource, torch
from foreword.backends.cpu.process_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
kept = keep_freed_memory()
for _ in range(4):  # the heap grows to its size
    faults()
print(int(kept), usual, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """64 MiB, again and again: the system gives the pages once. In a process of its own, for it sets the allocator."""
    out = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True, timeout=240).stdout
    kept, usual, after = map(int, out.split())
    if not kept:
        pytest.skip("no glibc")
    assert after < 20
    assert usual > 5 * max(after, 1)
