"""A working set twice the memory: agents' sessions of a trace, sent to engines with and without a store below.

Sessions go on side by side, each saying its next turn in turn, so that all of them are in use; in the trace they begin one
after another. A token stands for ``SCALE`` of the trace, so that prompts of a hundred thousand tokens can be computed here.
Three engines answer the same requests, one at a time: one whose memory holds all of them, one whose memory holds half, and
that one over a store on disk.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from foreword.replay.traces import TraceRequest, read_trace
from foreword.tokens import TOKEN_TYPE
from tier_rows.asking import Asked, in_a_process, token_bytes
from tier_rows.row import Row

SESSIONS, TURNS, SCALE = 4, 16, 32
SPARE_TOKENS = 2048
"""Beyond the working set, for the engine that holds all: a request that is under way, and blocks that are half full."""
SESSION_BITS = np.uint64(32)
WITHIN_POINTS, SOONER = 1.0, 5.0


class Replayed(NamedTuple):
    """What an engine said of all requests: shares of prompt tokens by source, and seconds to each first token."""

    cached: float
    stored: float
    seconds: list[float]

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that were not computed."""
        return self.cached + self.stored


def rows(model: str, name: str, trace: Path, folder: Path) -> list[Row]:
    """The rows of one model."""
    size, requests = in_a_process(token_bytes, model), chosen(trace)
    whole = distinct_tokens(requests)
    half = whole // 2 * size
    everything = in_a_process(replayed, model, requests, (whole + SPARE_TOKENS) * size, None, "all in memory")
    without = in_a_process(replayed, model, requests, half, None, "half in memory")
    below = in_a_process(replayed, model, requests, half, folder, "half, and a store")
    what = f"{name}, {len(requests)} turns of {SESSIONS} sessions, {whole:,} tokens, half of them in memory"
    return _rows(what, everything, without, below)


def chosen(trace: Path) -> list[TraceRequest]:
    """The first turns of the first sessions that have as many: the first of each, the second of each, and so on."""
    turns: dict[int, list[TraceRequest]] = defaultdict(list)
    with trace.open("rb") as stream:  # packed or not
        for request in read_trace(stream).requests:
            turns[_session(request)].append(request)
    sessions = [session[:TURNS] for session in turns.values() if len(session) >= TURNS][:SESSIONS]
    return [request for together in zip(*sessions, strict=True) for request in together]


def distinct_tokens(requests: Sequence[TraceRequest]) -> int:
    """Tokens of KV that a memory needs to hold every prompt, each shared beginning once."""
    width = max(1, requests[0].block_tokens // SCALE)
    keyed = len({int(key) for request in requests for key in request.keys}) * width
    return keyed + sum(request.length(SCALE) - min(request.length(SCALE), len(request.keys) * width) for request in requests)


def replayed(model: str, requests: Sequence[TraceRequest], memory_bytes: int, store: Path | None, shown: str) -> Replayed:
    """What an engine with so much memory answers, one request after another."""
    asked = Asked(model, memory_bytes, store=store)
    answers = [asked.ask(_prompt(each, asked.vocabulary)) for each in tqdm(requests, desc=shown, unit="request")]
    accounts = [answer.account for answer in answers]
    prompt = sum(account.prompt_tokens for account in accounts)
    asked.close()
    return Replayed(
        sum(account.cached for account in accounts) / prompt,
        sum(account.stored for account in accounts) / prompt,
        [answer.seconds for answer in answers],
    )


def _session(request: TraceRequest) -> int:
    """Which session of the trace, from 1 on."""
    return int(request.keys[0] >> SESSION_BITS)


def _prompt(request: TraceRequest, vocabulary: int) -> bytes:
    """Packed tokens of a model's own, none of them special."""
    tokens = np.frombuffer(request.prompt(SCALE), TOKEN_TYPE)
    return (16 + tokens % (vocabulary - 16)).astype(TOKEN_TYPE).tobytes()


def _rows(what: str, everything: Replayed, without: Replayed, below: Replayed) -> list[Row]:
    figures = {"all": everything._asdict(), "without": without._asdict(), "store": below._asdict()}
    short = 100 * (everything.hit_rate - below.hit_rate)
    sooner = mean(without.seconds) / mean(below.seconds)
    return [
        Row(
            f"hit rate: {what}",
            f"{below.hit_rate:.1%} with a store, {everything.hit_rate:.1%} all in memory, {without.hit_rate:.1%} without",
            f"within {WITHIN_POINTS:.0f} point of all in memory",
            short <= WITHIN_POINTS,
            figures,
        ),
        Row(
            f"mean time to the first token: {what}",
            f"{sooner:.1f} × sooner ({mean(without.seconds):.2f} s without, {mean(below.seconds):.2f} s with a store, "
            f"{mean(everything.seconds):.2f} s all in memory; medians {median(without.seconds):.2f}, "
            f"{median(below.seconds):.2f}, {median(everything.seconds):.2f})",
            f"≥ {SOONER:.0f} ×",
            sooner >= SOONER,
            figures,
        ),
    ]
