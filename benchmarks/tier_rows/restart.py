"""The first token after a restart, beside a cold one, a hit in memory, and the disk; and how fast the pool is filled."""

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tqdm import tqdm

from foreword.account import Source
from foreword.cache import LoadBlocks, Namespace, Stored
from foreword.cache.pool import BLOCK_ID
from foreword.engine.tier import Loaded
from foreword.tokens import TOKEN_BYTES
from tier_rows.asking import MIB, Asked, forget_pages, in_a_process, random_tokens, token_bytes
from tier_rows.plain_reading import PlainReader
from tier_rows.row import Row

TAIL = 24
"""Tokens of a question behind the prefix."""
TIMES, LOADS = 5, 9
SPARE_TOKENS = 2048
SOONER, HIT_FACTOR, RATE = 25, 1.5, 0.85


@dataclass(frozen=True)
class Case:
    """A model, a prefix of so many tokens, and the folder in which its KV are stored."""

    model: str
    tokens: int
    memory_bytes: int
    folder: Path

    def opened(self) -> Asked:
        """Its engine."""
        return Asked(self.model, self.memory_bytes, store=self.folder)


class Restored(NamedTuple):
    """Seconds of the first request after a restart, of hits in memory, and of reading the same bytes plainly."""

    first: float
    hit: float
    plain: float
    size: int


class Loads(NamedTuple):
    """Bytes a second into the pool by the engine's tier, and by ``preadv`` into plain memory."""

    tier: float
    plain: float


def rows(model: str, name: str, tokens: int, folder: Path) -> list[Row]:
    """The rows of one model."""
    case = Case(model, tokens, (tokens + SPARE_TOKENS) * in_a_process(token_bytes, model), folder)
    first = in_a_process(cold, case)
    found: list[Row] = []
    for where, forget in (("disk", True), ("page cache", False)):
        seeds = tqdm(range(1000, 1000 * (TIMES + 1), 1000), desc=f"restarts, from the {where}")
        runs = [in_a_process(restored, case, seed, forget) for seed in seeds]
        found += _restart_rows(f"{name}, {tokens:,} tokens, from the {where}", first, runs, forget)
    for where, forget in (("disk", True), ("page cache", False)):
        found.append(_rate_row(f"{name}, from the {where}", in_a_process(loads, case, forget)))
    return found


def cold(case: Case) -> float:
    """Seconds of the first request of all; what was computed is stored at the end."""
    asked = case.opened()
    prefix = _prefix(case, asked)
    first = asked.ask(prefix + random_tokens(2, TAIL, asked.vocabulary))
    assert first.account.computed == case.tokens + TAIL, first.account
    asked.close()
    return first.seconds


def restored(case: Case, seed: int, forget: bool) -> Restored:
    """What a process sees that finds the prefix in the folder; ``forget``: on the disk, not in the system's page cache."""
    asked = case.opened()
    prefix = _prefix(case, asked)
    if forget:
        forget_pages(case.folder)
    first = asked.ask(prefix + random_tokens(seed, TAIL, asked.vocabulary))
    assert first.account.stored == case.tokens, first.account
    reader = PlainReader(case.folder, case.tokens // asked.block_size, asked.piece_sizes)
    if forget:
        forget_pages(case.folder)
    plain = reader.seconds()
    return Restored(first.seconds, _hits(asked, prefix, seed + 1), plain, reader.size)


def loads(case: Case, forget: bool) -> Loads:
    """The prefix's blocks into the pool and into plain memory, in turn; both have been written to before."""
    asked = case.opened()
    prefix, blocks = _prefix(case, asked), case.tokens // asked.block_size
    reader = PlainReader(case.folder, blocks, asked.piece_sizes)
    tier: list[float] = []
    plain: list[float] = []
    for _ in range(LOADS + 1):
        if forget:
            forget_pages(case.folder)
        tier.append(_load(asked, prefix, range(blocks)))
        if forget:
            forget_pages(case.folder)
        plain.append(reader.seconds())
    return Loads(reader.size / median(tier[1:]), reader.size / median(plain[1:]))


def _load(asked: Asked, tokens: bytes, blocks: Sequence[int]) -> float:
    """Seconds in which the engine's tier brings a prompt into blocks of the pool."""
    tier = asked.parts.tier
    assert tier is not None
    stored = (Stored(len(tokens) // TOKEN_BYTES, Source.STORED_LOCAL),)
    begun = time.perf_counter()
    tier.begin(LoadBlocks(Namespace(asked.parts.info.fingerprint), None, tokens, 0, array(BLOCK_ID, blocks), stored))
    (news,) = asked.news()
    assert isinstance(news, Loaded) and news.until == len(tokens) // TOKEN_BYTES, news
    return time.perf_counter() - begun


def _prefix(case: Case, asked: Asked) -> bytes:
    return random_tokens(1, case.tokens, asked.vocabulary)


def _hits(asked: Asked, prefix: bytes, seed: int) -> float:
    """Median seconds of questions whose prefix is in memory."""
    answers = [asked.ask(prefix + random_tokens(seed + number, TAIL, asked.vocabulary)) for number in range(TIMES)]
    assert all(answer.account.computed == TAIL and not answer.account.stored for answer in answers)
    return median(answer.seconds for answer in answers)


def _restart_rows(what: str, cold_seconds: float, runs: Sequence[Restored], from_disk: bool) -> list[Row]:
    first, hit, plain = (median(column) for column in list(zip(*runs, strict=True))[:3])
    figures = {"cold": cold_seconds, "runs": [run._asdict() for run in runs]}
    seconds = f"{cold_seconds:.1f} s cold, {first:.2f} s restored, {hit:.2f} s in memory"
    found = [
        Row(
            f"first token after a restart: {what}",
            f"{cold_seconds / first:.0f} × sooner ({seconds})",
            f"≥ {SOONER} ×",
            cold_seconds / first >= SOONER,
            figures,
        )
    ]
    if from_disk:
        bound, rate = HIT_FACTOR * hit + plain, runs[0].size / plain / MIB
        found.append(
            Row(
                f"the same beside {HIT_FACTOR} × a memory hit + bytes ÷ the disk's rate",
                f"{first:.2f} s; {runs[0].size / MIB:.0f} MiB at {rate:,.0f} MiB/s: {first / bound:.2f} of the bound",
                f"≤ {bound:.2f} s",
                first <= bound,
                figures,
            )
        )
    return found


def _rate_row(what: str, found: Loads) -> Row:
    ratio = found.tier / found.plain
    measured = f"{ratio:.2f} ({found.tier / MIB:,.0f} of {found.plain / MIB:,.0f} MiB/s)"
    return Row(f"read rate into the pool, of preadv's: {what}", measured, f"≥ {RATE}", ratio >= RATE, found._asdict())
