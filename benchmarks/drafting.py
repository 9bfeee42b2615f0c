"""What drafting brings: tokens a second and a step with it and without, in turn in one run, and whether they are the same.

    python benchmarks/drafting.py [--large DIR] [--rows repeat,edit,predict,copy,table,random,traces] [--repeat 3] [--json F]

repeat  The same prompt again, greedy, 256 tokens, alone: tokens a second behind the first. On the model of --large.
edit    A file of 200 lines in the prompt, to be written again with one name changed: SmolLM2, in its own words.
predict The client predicts the answer, but for one token in 20, of which the prompt has nothing: SmolLM2, 256 tokens.
copy    The same answer, given by a script to the model of --large: the cost is real, what is accepted is made up.
table   Questions about tables, each asked once: tokens a step of the model in the package; and the same asked again.
random  Prompts and answers in which nothing repeats, at batch 1, 8 and 32: on the model of --large and that in the package.
traces  Of the answers in the agents' traces, how much had followed the same tokens before. No model.

Both engines of a row are over one model and one KV memory; before its turn each forgets all prefixes. --large is a random
Llama of 0.22 B parameters (shared/peers/make_model.py). Run it on a quiet machine.
"""

import argparse
import gzip
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from foreword.cache import CopyBlock, PrefixCache
from foreword.engine import Engine, EngineConfig, EngineRequest, SamplingParams
from foreword.engine.build import EngineParts, make_parts
from foreword.engine.drafting import make_drafting
from foreword.engine.runner import Runner, Sampled, SampledToken, Step, StepChunk, in_turn
from foreword.events import Event, EventRelay, StepFinished
from foreword.sched import Scheduler
from foreword.tokens import pack_tokens, unpack_tokens
from measuring import machine, watching_others
from table_workload import prompts

TOKENS, PROMPT = 256, 512
BATCHES = (1, 8, 32)
EDITED = 400
"""Tokens of the file's new version that are written."""
INSTRUCTION = "\n\nWrite the file again, whole, with the name {old} changed to {new} and nothing else changed."


@dataclass
class Run:
    """What one engine did in a turn."""

    tokens: list[list[int]]
    seconds: float
    steps: int
    drafted: int
    accepted: int

    @property
    def rate(self) -> float:
        """Tokens a second, the first of each answer left out."""
        return sum(len(each) - 1 for each in self.tokens) / self.seconds


@dataclass
class Side:
    """An engine over the parts of another one, with drafts or without; and the steps that it ran."""

    engine: Engine
    steps: list[StepFinished] = field(default_factory=list)

    @classmethod
    def of(cls, parts: EngineParts, drafts: bool, runner: Runner | None = None) -> "Side":
        """Over the model, the memory and the options of some parts."""
        config, events = parts.config, EventRelay()
        cache = PrefixCache(config.cache_config(parts.info.num_blocks), events=events)
        drafting = make_drafting(cache, parts.info.vocab_size) if drafts else None
        scheduler = Scheduler(config.scheduler_config(), cache)
        side = cls(Engine(scheduler, runner or parts.runner, parts.info, parts.text, events=events, drafting=drafting))
        events.add(side.hear)
        return side

    def hear(self, event: Event) -> None:
        """Keep what is told of steps."""
        if isinstance(event, StepFinished):
            self.steps.append(event)

    def run(self, asked: Sequence[list[int]], params: Sequence[SamplingParams], predicted: bytes = b"") -> Run:
        """Answer some prompts together; the seconds are those after the last of them got its first token."""
        self.steps.clear()
        made = [
            self.engine.add_request(EngineRequest(pack_tokens(prompt), each, stream=True, predicted=predicted))
            for prompt, each in zip(asked, params, strict=True)
        ]
        while self.engine.has_unfinished_requests():
            for generation in self.engine.step().news:
                if generation.error is not None:
                    raise generation.error
        first = max(each.metrics().first_token_time or 0.0 for each in made)
        last = max(each.metrics().finished_time or 0.0 for each in made)
        answers = [generation.output().outputs[0].token_ids for generation in made]
        accounts = [generation.account() for generation in made]
        generating = sum(1 for step in self.steps if step.generating)
        drafted, accepted = sum(each.drafted for each in accounts), sum(each.accepted for each in accounts)
        return Run(answers, last - first, generating, drafted, accepted)


def in_turns(sides: dict[str, Side], repeat: int, turn: Callable[[Side, int], Run]) -> dict[str, Any]:
    """Let each engine have its turn, ``repeat`` times; medians, their ratio, and how many tokens differ."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(repeat):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            sides[name].engine.reset_prefix_cache()
            runs[name].append(turn(sides[name], number))
    pairs = [
        (a, b) for off, on in zip(runs["off"], runs["on"], strict=True) for a, b in zip(off.tokens, on.tokens, strict=True)
    ]
    tokens = [token for _, answer in pairs for token in answer]
    differing = sum(x != y for a, b in pairs for x, y in zip(a, b, strict=True))
    rates = {name: median(run.rate for run in each) for name, each in runs.items()}
    on = runs["on"]
    return {
        "tokens_per_second": rates,
        "ratio": rates["on"] / rates["off"],
        "tokens": len(tokens),
        "tokens_differing": differing,
        "steps": {name: sum(run.steps for run in each) for name, each in runs.items()},
        "tokens_per_step": sum(len(each) - 1 for run in on for each in run.tokens) / max(1, sum(run.steps for run in on)),
        "drafted": sum(run.drafted for run in on),
        "accepted": sum(run.accepted for run in on),
    }


def both(parts: EngineParts, runner: Runner | None = None) -> dict[str, Side]:
    """An engine without drafts and one with."""
    return {"off": Side.of(parts, False, runner), "on": Side.of(parts, True, runner)}


def greedy(tokens: int, ignore_eos: bool = True) -> SamplingParams:
    """The likeliest tokens, so many."""
    return SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=ignore_eos)


def some_tokens(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    """Random token ids."""
    return [rng.randrange(vocabulary) for _ in range(count)]


def repeat_row(parts: EngineParts, repeat: int) -> dict[str, Any]:
    """The same prompt again."""
    sides, by_rows = both(parts), dict[int, list[float]]()

    def turn(side: Side, number: int) -> Run:
        prompt = some_tokens(random.Random(number), PROMPT, parts.info.vocab_size)
        side.run([prompt], [greedy(TOKENS)])
        run = side.run([prompt], [greedy(TOKENS)])
        for step in side.steps:
            if not step.spans:
                by_rows.setdefault(step.generating_rows, []).append(step.seconds)
        return run

    found = in_turns(sides, repeat, turn)
    return {**found, "step_milliseconds_by_rows": {rows: 1e3 * median(by_rows[rows]) for rows in sorted(by_rows)}}


class Scripted:
    """A model's runner whose tokens are those of a script: what is computed and what it costs is the model's."""

    def __init__(self, runner: Runner, script: Sequence[int]):
        self._runner = runner
        self._script = script

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        """See Runner."""
        self._runner.carry_out(actions)

    def run(self, step: Step) -> list[Sampled]:
        """See Runner."""
        self._runner.run(step)
        return [Sampled(in_turn(chunk, self._next)) for chunk in step.chunks]

    def _next(self, chunk: StepChunk) -> SampledToken:
        return SampledToken(self._script[(chunk.end - chunk.num_prompt_tokens) % len(self._script)])


def source_file(lines: int) -> str:
    """A file in Python of so many lines, in which one name comes often."""
    text = Path(random.__file__).read_text(encoding="utf-8").split("\n")
    begin = next(number for number, line in enumerate(text) if line.startswith("class Random"))
    return "\n".join(text[begin : begin + lines])


def edit_prompt(parts: EngineParts, lines: int) -> tuple[list[int], list[int]]:
    """A file with the instruction behind it, and the file as it should be, in tokens."""
    text = source_file(lines)
    wanted = text.replace("randbelow", "draw_below")
    tokenizer = parts.text.tokenizer

    def ids(words: str) -> list[int]:
        return unpack_tokens(tokenizer.tokens(words, add_special_tokens=False))

    return ids(text + INSTRUCTION.format(old="randbelow", new="draw_below") + "\n\n"), ids(wanted)


def copy_row(parts: EngineParts, repeat: int) -> dict[str, Any]:
    """A file is written again by a script."""
    prompt, answer = edit_prompt(parts, 200)
    sides = both(parts, Scripted(parts.runner, answer))
    length = min(EDITED, len(answer))
    return in_turns(sides, repeat, lambda side, _: side.run([prompt], [greedy(length)]))


def edit_row(repeat: int) -> dict[str, Any]:
    """SmolLM2 writes a file again."""
    parts = make_parts(EngineConfig(model="smollm2", kv_cache_memory_bytes=2**29))
    instruction = INSTRUCTION.format(old="randbelow", new="draw_below")
    content = f"Here is a file:\n\n```python\n{source_file(200)}\n```{instruction}"
    prompt = unpack_tokens(
        parts.text.tokens(parts.text.chat_prompt([{"role": "user", "content": content}], True, datetime.now()))
    )
    return in_turns(both(parts), repeat, lambda side, _: side.run([prompt], [greedy(EDITED)]))


def predict_row(repeat: int) -> dict[str, Any]:
    """SmolLM2 writes what was predicted, nearly."""
    parts = make_parts(EngineConfig(model="smollm2", kv_cache_memory_bytes=2**29))
    asked = [{"role": "user", "content": "Tell me a story of a lighthouse and a storm."}]
    prompt = unpack_tokens(parts.text.tokens(parts.text.chat_prompt(asked, True, datetime.now())))
    sides = both(parts)
    (answer,) = sides["off"].run([prompt], [greedy(TOKENS)]).tokens
    predicted = pack_tokens([token if place % 20 else answer[0] for place, token in enumerate(answer, start=1)])
    return in_turns(sides, repeat, lambda side, _: side.run([prompt], [greedy(TOKENS)], predicted))


def table_row(repeat: int) -> dict[str, Any]:
    """Questions about tables, one after another."""
    parts = make_parts(EngineConfig(kv_cache_memory_bytes=2**28))
    asked = [unpack_tokens(parts.text.tokenizer.tokens(text, add_special_tokens=True)) for text in prompts()]
    found: dict[str, Any] = {}
    for name, before in (("asked once", 0), ("asked again", 1)):

        def turn(side: Side, _: int, before: int = before) -> Run:
            for _ in range(before):
                for prompt in asked:
                    side.run([prompt], [greedy(50, ignore_eos=False)])
            runs = [side.run([prompt], [greedy(50, ignore_eos=False)]) for prompt in asked]
            sums = {key: sum(getattr(run, key) for run in runs) for key in ("seconds", "steps", "drafted", "accepted")}
            return Run([tokens for run in runs for tokens in run.tokens], **sums)

        found[name] = in_turns(both(parts), repeat, turn)
    return found


def random_row(parts: EngineParts, repeat: int, tokens: int) -> dict[str, Any]:
    """Nothing repeats."""
    sides, found = both(parts), {}
    for batch in BATCHES:

        def turn(side: Side, number: int, batch: int = batch) -> Run:
            rng = random.Random(f"{batch}/{number}")
            asked = [some_tokens(rng, 32, parts.info.vocab_size) for _ in range(batch)]
            sampled = SamplingParams(temperature=100.0, seed=number, max_tokens=tokens, ignore_eos=True)
            return side.run(asked, [replace(sampled, seed=number * batch + place) for place in range(batch)])

        found[f"batch {batch}"] = in_turns(sides, repeat, turn)
    return found


def traces_row(folder: Path) -> dict[str, Any]:
    """Of the blocks that answers brought into their sessions, those that had stood behind the same tokens before.

    The traces have no tokens, but an id for each block and all before it: an id that was seen before is what the tree knows.
    """
    answered = known = 0
    with gzip.open(folder / "claude_code_sessions_64.rle.jsonl.gz", "rt") as lines:
        for session in map(json.loads, lines):
            main_line = [request for request in session["reqs"] if isinstance(request, list)]
            subagents = [request["sub"] for request in session["reqs"] if isinstance(request, dict)]
            seen: set[int] = set()
            for requests in (main_line, *subagents):
                for request, following in zip(requests, [*requests[1:], None], strict=True):
                    ids, block = block_ids(request), session["block"]
                    start, end = request[1] // block, (request[1] + request[2]) // block
                    if following is not None and block_ids(following)[:start] == ids[:start]:
                        answer = block_ids(following)[start + 1 : end]
                        answered += len(answer) * block
                        known += sum(each in seen for each in answer) * block
                    seen.update(ids)
    return {"answer_tokens_in_whole_blocks": answered, "of_them_known_to_the_tree": known}


def block_ids(request: list[Any]) -> list[int]:
    """The blocks of a session's request."""
    return [each for first, last in request[-1] for each in range(first, last + 1)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", help="directory of the model of 0.22 B parameters")
    parser.add_argument("--rows", default="repeat,edit,predict,copy,table,random,traces")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    large: EngineParts | None = None
    found: dict[str, Any] = {"machine": machine()}
    load: dict[str, float] = {}
    for row in options.rows.split(","):
        if row in ("repeat", "copy", "random") and large is None and options.large:
            large = make_parts(EngineConfig(model=options.large, kv_cache_memory_bytes=2**29))
        start = time.perf_counter()
        with watching_others(load):
            if row == "edit":
                found[row] = edit_row(options.repeat)
            elif row == "predict":
                found[row] = predict_row(options.repeat)
            elif row == "table":
                found[row] = table_row(options.repeat)
            elif row == "traces":
                found[row] = traces_row(options.traces)
            elif row == "random":
                small = make_parts(EngineConfig(kv_cache_memory_bytes=2**28))
                found[row] = {"packaged": random_row(small, 3 * options.repeat, 96)}
                if large is not None:
                    found[row]["large"] = random_row(large, options.repeat, 24)
            elif large is not None:
                found[row] = (repeat_row if row == "repeat" else copy_row)(large, options.repeat)
        print(row, f"{time.perf_counter() - start:.0f} s", json.dumps({**load, **found.get(row, {})}, indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
