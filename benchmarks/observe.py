"""What the observer says, against what is known to be so, and what observing costs.

    python benchmarks/observe.py reasons [--cases 1000]     requests with one planted cause each: the confusion matrix
    python benchmarks/observe.py curve TRACES               the curve against exact replays at eight sizes
    python benchmarks/observe.py prefixes [--count 1000000] a million distinct prefixes: time and memory
    python benchmarks/observe.py overhead [--model MODEL]   throughput and TTFT with and without the observer, in one run

TRACES is the folder of the public traces. ``reasons --write FILE`` puts its table into a Markdown file, between two marks.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from foreword.cache import CacheConfig, pack_tokens
from foreword.events import Event, EventSink
from foreword.observe import Observer
from foreword.observe.curve import HitRateCurve
from foreword.observe.hashing import PrefixHasher
from foreword.observe.prefixes import PrefixSketch
from foreword.replay import hit_rate, read_trace
from foreword.testing.planted_causes import matrix, run_cases

BEGIN, END = "<!-- the table of reasons -->", "<!-- end of the table -->"


def write_between_marks(file: Path, table: str) -> None:
    """Put a table into a Markdown file."""
    text = file.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    file.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def curve(folder: Path) -> str:
    """The curve against replays through the real cache, in per cent, as a Markdown table."""
    lines = ["| trace | size, tokens | replay | curve |", "|---|---|---|---|"]
    for name, prompts, scale, sizes in _traces(folder):
        drawn, hasher = HitRateCurve(sizes=sizes), PrefixHasher()
        for tokens in prompts:
            drawn.observe(hasher(b"", tokens), len(tokens) // 4)
        for size, point in zip(sizes, drawn.snapshot(sizes).points, strict=True):
            exact = hit_rate(prompts, CacheConfig(num_blocks=size, block_size=1, ghost_ratio=0.0))
            lines.append(f"| {name} | {size * scale:,.0f} | {100 * exact:.1f} | {100 * point.hit_rate:.1f} |")
    return "\n".join(lines)


def _traces(folder: Path) -> Iterable[tuple[str, list[bytes], int, list[int]]]:
    """Name, packed prompts, tokens of the trace that one of ours stands for, and sizes."""
    for name, file, scale, smallest in (
        ("conversations", "mooncake_conversation_trace.jsonl.gz", 32, 250_000),
        ("agent", "lmcache_agent_64.jsonl.gz", 4, 8_000),
    ):
        with (folder / file).open("rb") as stream:
            prompts = [request.prompt(scale) for request in read_trace(stream).requests]
        yield name, prompts, scale, [smallest * 2**n // scale for n in range(8)]


def prefixes(count: int) -> str:
    """Distinct prefixes behind a shared one, and what the sketch has to say of the shared one."""
    sketch, head = PrefixSketch(), list(range(100))
    start = time.process_time()
    for number in range(count):
        sketch.observe(b"", pack_tokens([*head, 1000 + number, 7, 7, 7]))
    seconds = time.process_time() - start
    top = max(sketch.snapshot(10), key=lambda prefix: prefix.requests)
    return (
        f"{count:,} distinct prefixes: {1e6 * seconds / count:.1f} µs each. Kept: {sketch.nodes:,} nodes, "
        f"{sketch.tokens:,} tokens. The shared {top.end} tokens: {top.requests:,} requests, error at most {top.error:,}."
    )


class Load:
    """Questions about one table, asked of a model with an observer listening or without."""

    def __init__(self, model: str | None) -> None:
        from foreword.engine import EngineConfig
        from foreword.engine.build import build_engine

        config = EngineConfig(self_test=False) if model is None else EngineConfig(model=model, self_test=False)
        self.engine, self.source = build_engine(config), random.Random(1)
        self.observer, self.inside = Observer(), 0.0
        self.names = ["Ann", "Bob", "Cid"] * 5
        rows = "".join(f"| {n} | {name} | {self.source.randrange(20_000, 99_999)} |\n" for n, name in enumerate(self.names))
        self.table = "| ID | Name | Salary |\n" + rows

    def timed(self, event: Event) -> None:
        """The observer, with a clock around it."""
        start = time.perf_counter()
        self.observer(event)
        self.inside += time.perf_counter() - start

    def run(self, sink: EventSink | None, count: int, tokens: int) -> tuple[float, float]:
        """Seconds for so many requests at once, heard by ``sink``, and the mean of their TTFTs."""
        from foreword.engine import EngineRequest, SamplingParams

        if sink is not None:
            self.engine.subscribe(sink)
        params = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True)
        for _ in range(count):
            question = f"Question: What is the salary of {self.source.choice(self.names)} {self.source.randrange(10**6)}? "
            prompt = self.engine.text.tokenizer.tokens(self.table + question, add_special_tokens=True)
            self.engine.add_request(EngineRequest(prompt, params))
        start, firsts = time.perf_counter(), 0.0
        while self.engine.has_unfinished_requests():
            for generation in self.engine.step().news:
                if generation.finished:
                    firsts += generation.metrics().time_to_first_token or 0.0
        return time.perf_counter() - start, firsts / count


def overhead(rounds: int, model: str | None = None) -> str:
    """Requests with the observer and without, in turn, on a model or the packaged one; and the time in the observer."""
    load = Load(model)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    firsts: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 2):
        for observed in (True, False) if number % 2 else (False, True):
            seconds[observed].append(load.run(load.observer if observed else None, 16, 16)[0])
        for _ in range(4):
            for observed in (True, False) if number % 2 else (False, True):
                firsts[observed].append(load.run(load.observer if observed else None, 1, 1)[1])
    load.inside, timed = 0.0, max(1, rounds // 5)
    start = time.perf_counter()
    for _ in range(timed):
        load.run(load.timed, 16, 16)
    share = load.inside / (time.perf_counter() - start)
    batch = [a / b for a, b in zip(seconds[True][2:], seconds[False][2:], strict=True)]
    first = [a / b for a, b in zip(firsts[True][8:], firsts[False][8:], strict=True)]
    return (
        f"{load.engine.info.model_name}: {rounds} rounds of 16 requests at once and 4 times 1 alone, observed and not in "
        f"turn. Seconds of 16 at once, observed / not: {_median(batch)}; TTFT of 1 alone: {_median(first)} (medians of "
        f"ratios of "
        f"neighbours, with their 95 % intervals; {median(seconds[False]):.3f} s and {1000 * median(firsts[False]):.2f} ms "
        f"without). Time inside the observer: {share:.2%} of that of 16 at once, "
        f"{1e6 * load.inside / (16 * timed):.0f} µs a request."
    )


def _median(values: list[float]) -> str:
    """A median and the interval in which that of the population lies with 95 % probability, by ranks."""
    ordered, reach = sorted(values), 0.98 * len(values) ** 0.5
    low = max(0, int(len(ordered) / 2 - reach))
    return f"{median(ordered):.4f} [{ordered[low]:.4f}, {ordered[-1 - low]:.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("reasons", "curve", "prefixes", "overhead"))
    parser.add_argument("traces", nargs="?", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--model", help="for overhead: the name or folder of a model; without it the packaged one")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    parts: dict[str, Callable[[], str]] = {
        "reasons": lambda: matrix(run_cases(options.cases)),
        "curve": lambda: curve(options.traces),
        "prefixes": lambda: prefixes(options.count),
        "overhead": lambda: overhead(options.rounds, options.model),
    }
    text = parts[options.part]()
    print(text)
    if options.write is not None:
        write_between_marks(options.write, text)


if __name__ == "__main__":
    main()
