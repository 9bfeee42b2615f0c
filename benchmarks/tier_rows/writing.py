"""What writing costs: bytes written for each byte of KV, and how much slower others generate meanwhile."""

import time
from array import array
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from tqdm import tqdm

from foreword.cache import Namespace, StoreBlocks
from foreword.cache.pool import BLOCK_ID
from foreword.engine.open_stores import open_stores
from foreword.engine.request import EngineRequest
from foreword.engine.tiering import Tiering
from foreword.sampling_params import SamplingParams
from tier_rows.asking import CLOSE_SECONDS, MIB, Asked, in_a_process, random_tokens
from tier_rows.row import Row

MEMORY = 512 * MIB
GIVEN_BLOCKS, BATCH = 64, 4
WINDOWS, WINDOW_SECONDS = 20, 3.0
AMPLIFICATION, SLOWER = 1.1, 0.02


def rows(model: str, folder: Path) -> list[Row]:
    """Both rows."""
    given, written = in_a_process(amplification, model, folder / "amplification")
    factor = written / given
    size = f"{given / MIB:,.0f} MiB of KV into a folder of half as much"
    found = [Row(f"write amplification: {size}", f"{factor:.3f}", f"≤ {AMPLIFICATION}", factor <= AMPLIFICATION)]
    calm, busy, rate = in_a_process(decoding, model, folder / "decoding")
    slower = median(busy) / median(calm) - 1
    what = f"decoding {BATCH} at a time while {rate / MIB:.0f} MiB/s are written"
    measured = f"{slower:+.1%} ({1e3 * median(busy):.2f} of {1e3 * median(calm):.2f} ms a step)"
    found.append(Row(what, measured, f"≤ {SLOWER:.0%} slower", slower <= SLOWER, {"calm": calm, "busy": busy}))
    return found


def amplification(model: str, folder: Path) -> tuple[int, int]:
    """Bytes of KV that were given, and those that this process had the system write (/proc/self/io)."""
    asked = Asked(model, MEMORY)
    tier, blocks = _tier(asked, folder, store_size_bytes=MEMORY // 2), asked.parts.info.num_blocks
    before = _written()
    for seed in (1, 2):
        _give(asked, tier, seed, blocks)
        while not tier.news():
            time.sleep(0.01)
    tier.close(CLOSE_SECONDS)
    return 2 * blocks * sum(asked.piece_sizes), _written() - before


def decoding(model: str, folder: Path) -> tuple[list[float], list[float], float]:
    """Mean seconds of a step in windows without writing and with it, in turn; and bytes a second that were written then."""
    asked = Asked(model, MEMORY)
    tier = _tier(asked, folder)
    params = SamplingParams(temperature=0, max_tokens=4096, ignore_eos=True)
    for seed in range(BATCH):
        asked.engine.add_request(EngineRequest(random_tokens(seed, 64, asked.vocabulary), params))
    for _ in range(BATCH + 8):
        asked.step()
    windows: tuple[list[float], list[float]] = ([], [])
    written, under_way, seed = 0, 0, 100
    for number in tqdm(range(WINDOWS), desc="decoding", unit="window"):
        writes, steps = number % 2, []
        before, end = _written(), time.perf_counter() + WINDOW_SECONDS
        while time.perf_counter() < end:
            under_way -= len(tier.news())
            if writes and not under_way:
                seed, under_way = seed + 1, 1
                _give(asked, tier, seed, GIVEN_BLOCKS)
            begun = time.perf_counter()
            asked.step()
            steps.append(time.perf_counter() - begun)
        windows[writes].append(mean(steps))
        written += (_written() - before) * writes
        while under_way:
            under_way -= len(tier.news())
            time.sleep(0.01)
    return *windows, written / (WINDOWS // 2 * WINDOW_SECONDS)


def _tier(asked: Asked, folder: Path, **options: Any) -> Tiering:
    """Stores over the memory of an engine that does not know of them."""
    parts = asked.parts
    config = replace(parts.config, store=str(folder), **options)
    tier = open_stores(config, parts.info.fingerprint, parts.runner.memory.pieces, parts.info.num_blocks)
    assert tier is not None
    return tier


def _give(asked: Asked, tier: Tiering, seed: int, blocks: int) -> None:
    """Have the first blocks of the pool stored as those of a prompt that nobody has sent."""
    tokens = random_tokens(seed, blocks * asked.block_size, asked.vocabulary)
    tier.begin(StoreBlocks(Namespace(asked.parts.info.fingerprint), None, tokens, 0, array(BLOCK_ID, range(blocks))))


def _written() -> int:
    """Bytes that this process has had written to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])
