"""What writing costs: bytes written for each byte of KV, and how much slower others generate meanwhile."""

import time
from array import array
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

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
GIVEN_BLOCKS, AT_ONCE, BATCH = 64, 4, 4
WINDOWS, WINDOW_SECONDS = 15, 2.0
AMPLIFICATION, SLOWER = 1.1, 0.02


class Decoding(NamedTuple):
    """Mean seconds of a step in each window, and bytes a second that were written while storing.

    A window with storing is compared with the two beside it: prompts grow, and the machine is not always equally quick.
    """

    calm: list[float]
    busy: list[float]
    rate: float

    @property
    def slower(self) -> float:
        """The median window's share of time that storing has added."""
        beside = [(first + second) / 2 for first, second in pairwise(self.calm)]
        return median(busy / calm for busy, calm in zip(self.busy, beside, strict=True)) - 1


def rows(model: str, folder: Path) -> list[Row]:
    """What is written, and what that costs others."""
    given, written = in_a_process(amplification, model, folder / "amplification")
    factor = written / given
    size = f"{given / MIB:,.0f} MiB of KV into a folder of half as much"
    found = [Row(f"write amplification: {size}", f"{factor:.3f}", f"≤ {AMPLIFICATION}", factor <= AMPLIFICATION)]
    for what, backlog in (("all that they compute is stored", False), ("a backlog is stored", True)):
        run = in_a_process(decoding, model, folder / f"decoding-{backlog}", backlog)
        calm, busy = median(run.calm), median(run.busy)
        measured = f"{run.slower:+.1%} ({1e3 * busy:.2f} of {1e3 * calm:.2f} ms a step; {run.rate / MIB:.1f} MiB/s written)"
        row = f"decoding {BATCH} at a time while {what}"
        found.append(Row(row, measured, f"≤ {SLOWER:.0%} slower", run.slower <= SLOWER, run._asdict()))
    rate = in_a_process(idle_rate, model, folder / "idle") / MIB
    found.append(Row("storing while nothing is computed", f"{rate:,.0f} MiB/s written and synced", "", True, {"rate": rate}))
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


def decoding(model: str, folder: Path, backlog: bool) -> Decoding:
    """Windows of steps without storing and with it, in turn; ``backlog``: more is given than what the steps compute."""
    asked = Asked(model, MEMORY)
    tier = _tier(asked, folder)
    params = SamplingParams(temperature=0, max_tokens=4096, ignore_eos=True)
    for seed in range(BATCH):
        asked.engine.add_request(EngineRequest(random_tokens(seed, 64, asked.vocabulary), params))
    for _ in range(BATCH + 8):
        asked.step()
    windows: tuple[list[float], list[float]] = ([], [])
    written, under_way, seed = 0, 0, 100
    for number in tqdm(range(2 * WINDOWS + 1), desc="decoding", unit="window"):
        stores, due = number % 2, 0.0
        before, begun = _written(), time.perf_counter()
        steps = 0
        while time.perf_counter() < begun + WINDOW_SECONDS:
            under_way -= len(tier.news())
            due += BATCH / asked.block_size
            if stores and not under_way and (backlog or due >= AT_ONCE):
                count = GIVEN_BLOCKS if backlog else int(due)
                seed, under_way, due = seed + 1, 1, due - count
                _give(asked, tier, seed, count)
            with tier.giving_way():
                asked.step()
            steps += 1
        windows[stores].append((time.perf_counter() - begun) / steps)
        written += (_written() - before) * stores
        while under_way:
            under_way -= len(tier.news())
            time.sleep(0.01)
    return Decoding(*windows, written / (WINDOWS * WINDOW_SECONDS))


def idle_rate(model: str, folder: Path) -> float:
    """Bytes a second that are stored while no step is computed, until they are synced."""
    asked = Asked(model, MEMORY)
    tier, blocks = _tier(asked, folder), asked.parts.info.num_blocks
    begun = time.perf_counter()
    _give(asked, tier, 1, blocks)
    tier.close(CLOSE_SECONDS)
    return blocks * sum(asked.piece_sizes) / (time.perf_counter() - begun)


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
