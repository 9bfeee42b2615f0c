"""How broken up are prefixes in the KV memory after a long mixed load, with the cache always full?

    python benchmarks/fragmentation.py [--traces FOLDER] [--requests 2000] [--json FILE]
    python benchmarks/fragmentation.py --attention

The first needs no model: the real scheduler and the real cache, with random tokens for answers. Attention reads 256 tokens
(a tile) at once, and reads them faster where their blocks are neighbours. So the figure is the share of full tiles whose
blocks are one run, over the whole sequence of every request at its end; beside it, how many blocks a run has. A figure is
given for each fifth of a load: if they fall from fifth to fifth, the memory wears out.

Loads: **mixed** is made up (turns of chats, questions about 40 documents, prompts that come once), on 131,072 tokens of
cache; **conversation** and **agent** are the Mooncake and Claude Code traces in FOLDER, with random answers in place of
theirs, on 1 M and 2 M tokens.

The second asks what a tile in pieces costs: one layer's attention (8 key heads of 64, two query heads each) over a prefix
whose blocks are one run, or whose tiles are apart, or whose blocks are.
"""

import argparse
import itertools
import json
import random
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from foreword.cache import CacheConfig, PrefixCache
from foreword.replay import SPACE, read_trace, run_step
from foreword.sched import Request, Scheduler, SchedulerConfig

BLOCK, TILE = 16, 256
PARTS = 5
STEP_SECONDS = 0.05

Tokens = npt.NDArray[np.int32]
Ask = tuple[Tokens, int]
"""A prompt, and how many tokens to answer it with."""
Session = Generator[Ask, Tokens, None]
"""Is sent the answers."""


def some(ids: np.random.Generator, count: int) -> Tokens:
    """Random tokens."""
    return ids.integers(2**31 - 1, size=count, dtype=np.int32)


def one_turn(prompt: Tokens, answer: int) -> Session:
    yield prompt, answer


def conversation(head: Tokens, turns: list[tuple[int, int]], ids: np.random.Generator) -> Session:
    """Each turn: so many tokens said, so many answered."""
    for said, answer in turns:
        head = np.append(head, some(ids, said))
        head = np.append(head, (yield head, answer))


def mixed() -> Iterator[Session]:
    """Chats of 2 to 10 turns behind one of 4 system prompts, questions about documents, prompts of their own; for ever."""
    choose, ids = random.Random(0), np.random.default_rng(0)
    systems = [some(ids, choose.randrange(100, 1200)) for _ in range(4)]
    documents = [some(ids, choose.randrange(1000, 8000)) for _ in range(40)]
    while True:
        kind = choose.choices(("chat", "question", "own"), (1, 6, 6))[0]
        if kind == "chat":
            turns = [(choose.randrange(10, 300), choose.randrange(20, 400)) for _ in range(choose.randrange(2, 11))]
            yield conversation(choose.choice(systems), turns, ids)
        else:
            document: Tokens = documents[min(int(choose.expovariate(0.1)), 39)]
            start = document if kind == "question" else some(ids, choose.randrange(100, 3000))
            yield one_turn(np.concatenate([start, some(ids, choose.randrange(10, 80))]), choose.randrange(10, 200))


def published(path: Path, longest: int) -> Iterator[Session]:
    """The requests of a trace, in order of time, with answers of at most ``longest`` tokens."""
    with path.open("rb") as stream:
        for request in read_trace(stream).requests:
            yield one_turn(np.frombuffer(request.prompt(), np.int32), max(1, min(request.output_tokens, longest)))


def layout(table: npt.NDArray[np.int32]) -> tuple[int, int, int, int]:
    """Blocks, runs of neighbours, full tiles, full tiles that are one run."""
    breaks, size = np.diff(table) != 1, TILE // BLOCK
    tiles = len(table) // size
    within = np.append(breaks, False)[: tiles * size].reshape(tiles, size)[:, :-1]
    return len(table), int(breaks.sum()) + min(1, len(table)), tiles, tiles - int(within.any(1).sum())


class Replay:
    """A load on the scheduler and the cache, ``concurrency`` requests at a time, until ``count`` have ended."""

    def __init__(self, sessions: Iterator[Session], tokens: int, concurrency: int):
        self.cache = PrefixCache(CacheConfig(num_blocks=tokens // BLOCK))
        config = SchedulerConfig(max_num_seqs=concurrency, max_num_batched_tokens=8192)
        self.scheduler = Scheduler(config, self.cache)
        self.sessions = sessions
        self.concurrency = concurrency
        self.resting: deque[tuple[Session, Ask]] = deque()  # sessions between two turns
        self.live: dict[Request, Session] = {}
        self.ids = np.random.default_rng(1)
        self.rows: list[tuple[int, int, int, int]] = []
        self.prompt_tokens = self.cached_tokens = self.computed_tokens = 0
        self.now = 0.0

    def run(self, count: int) -> dict[str, Any]:
        """The figures."""
        names = (str(number) for number in itertools.count())
        with tqdm(total=count, unit="request", leave=False) as bar:
            while len(self.rows) < count and self._refill(names):
                _, ended = run_step(self.scheduler, self.now, lambda _: int(self.ids.integers(2**31 - 1)))
                self.now += STEP_SECONDS
                for request in ended:
                    self._end(request)
                    bar.update()
        self.cache.check_integrity()
        parts = [_figures(part) for part in np.array_split(np.array(self.rows), PARTS)]
        return {
            "requests": len(self.rows),
            "times_replaced": round(self.computed_tokens / self.cache.config.num_blocks / BLOCK, 1),
            "hit_rate": round(self.cached_tokens / self.prompt_tokens, 4),
            **_figures(np.array(self.rows)),
            "parts": parts,
        }

    def _refill(self, names: Iterator[str]) -> bool:
        """Send requests; a session goes on once 40 others rest, and when no new one comes. False: there is nothing left."""
        while len(self.live) < self.concurrency:
            new = None if len(self.resting) > 40 else next(self.sessions, None)
            if new is None and not self.resting:
                break
            session, (prompt, answer) = self.resting.popleft() if new is None else (new, next(new))
            request = Request(next(names), prompt.tobytes(), SPACE, len(prompt) + answer, self.now)
            self.scheduler.add(request)
            self.live[request] = session
        return bool(self.live)

    def _end(self, request: Request) -> None:
        assert request.reservation is not None
        self.rows.append(layout(request.reservation.table[: (request.num_tokens - 1) // BLOCK]))
        account = request.account()
        self.prompt_tokens += account.prompt_tokens
        self.cached_tokens += account.cached
        self.computed_tokens += account.computed + request.num_tokens - request.num_prompt_tokens
        self.scheduler.finish(request, self.now)
        session = self.live.pop(request)
        with suppress(StopIteration):
            self.resting.append((session, session.send(request.tokens[request.num_prompt_tokens :])))


def _figures(rows: npt.NDArray[np.int64]) -> dict[str, float]:
    blocks, runs, tiles, whole = rows.sum(0)
    typical = np.median(rows[:, 0] / np.maximum(1, rows[:, 1]))
    return {
        "tiles_in_one_run": round(float(whole / tiles), 3),
        "blocks_a_run": round(float(blocks / runs), 1),
        "blocks_a_run_p50": round(float(typical), 1),
    }


def time_attention() -> None:
    """Milliseconds of one layer for each way in which a prefix may lie."""
    import torch

    from foreword.backends.base import LayerCall, LayerShape, Span
    from foreword.backends.cpu.attention.tiled import TiledAttention
    from foreword.backends.cpu.kernels.target import best_target
    from foreword.backends.cpu.kv_memory import PanelMemory

    own = 40
    print("| prefix, requests, rows of each | " + " | ".join(PLACES) + " |\n|---|" + "---|" * len(PLACES))
    for length, count, rows in ((2048, 1, 1), (8192, 1, 1), (8192, 8, 1), (2048, 32, 1), (8192, 1, 256)):
        cells = []
        for place in PLACES:
            blocks = scattered(length // BLOCK, place)
            tail = -(-max(own, rows) // BLOCK)
            tables = [np.append(blocks, len(blocks) + n * tail + np.arange(tail)).astype(np.int32) for n in range(count)]
            memory = PanelMemory(best_target(), [LayerShape(8, 64, 64)], len(blocks) + count * tail, BLOCK, torch.float32)
            for tensor in (*memory.keys, *memory.values):
                tensor.normal_()
            end, backend, call = length + max(own, rows), TiledAttention(best_target()), LayerCall(0, 0.125)
            spans = [Span(n * rows, end - rows, end, table) for n, table in enumerate(tables)]
            query, seconds = torch.randn(16, count * rows, 64), []
            with torch.inference_mode():
                plan = backend.prepare(spans, count * rows, memory)
                for _ in range(30):
                    start = time.perf_counter()
                    backend.attend(plan, memory, call, query)
                    seconds.append(time.perf_counter() - start)
            cells.append(f"{1e3 * median(seconds[5:]):.2f}")
        print(f"| {length:,}, {count}, {rows} | " + " | ".join(cells) + " |")


PLACES = ("one run", "tiles apart", "blocks apart")


def scattered(count: int, place: str) -> npt.NDArray[np.int64]:
    """Block ids of a prefix."""
    rng, size = np.random.default_rng(0), TILE // BLOCK
    if place == "blocks apart":
        return rng.permutation(count)
    if place == "tiles apart":
        return (rng.permutation(count // size)[:, None] * size + np.arange(size)).ravel()
    return np.arange(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="folder of the public traces; without it only the mixed load runs")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.attention:
        time_attention()
        return
    results: dict[str, Any] = {}
    loads = {"mixed": (mixed(), 2**17, 24)}
    if args.traces:
        loads["conversation"] = (published(args.traces / "mooncake_conversation_trace.jsonl.gz", 2**20), 2**20, 32)
        loads["agent"] = (published(args.traces / "claude_code_sessions_64.rle.jsonl.gz", 2000), 2**21, 16)
    for name, (sessions, tokens, concurrency) in loads.items():
        row = Replay(sessions, tokens, concurrency).run(args.requests)
        results[name] = row
        over_time = " → ".join(f"{part['tiles_in_one_run']:.1%}" for part in row["parts"])
        print(f"{name}: {row['tiles_in_one_run']:.1%} of the tiles are one run ({over_time});", end=" ")
        print(f"{row['blocks_a_run']} blocks a run (p50 {row['blocks_a_run_p50']});", end=" ")
        print(f"hit rate {row['hit_rate']:.1%};", end=" ")
        print(f"{row['requests']} requests, memory replaced {row['times_replaced']} times")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
