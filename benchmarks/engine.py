"""What the engine adds to a bare forward pass, what the cache costs when nothing is shared, and what it saves.

    python benchmarks/engine.py [--model DIR] [--large DIR] [--parts warm,unshared,lengths,saved] [--json FILE]

warm      TTFT of the table workload from the cache, beside a bare forward pass over exactly the uncached tokens against
          cached KV: (i) ModelRunner.run alone, on the very plan of that request; (ii) plain transformers, SDPA, with a
          DynamicCache that holds the cached tokens. All three are taken in turn for every prompt.
unshared  Prompts that share nothing: throughput with the cache on over throughput with it off, same prompts, in turn. The
          KV memory holds about two rounds, so that from the third round on the cache evicts.
lengths   TTFT cold and warm, over lengths of the shared prefix.
saved     Share of prompt tokens that are not computed, over the number of questions about one table.

--model is the small model (default: the one in the package), --large another one; every part runs on both, except
``lengths`` (the large one if given) and ``saved`` (the small one). Run it on a quiet machine: ``other_cores`` in the
results says how many cores were busy with something else.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, DynamicCache

from foreword.engine import Engine, EngineConfig, EngineRequest, SamplingParams
from foreword.engine.build import EngineParts, make_parts
from foreword.engine.runner import Step
from foreword.tokens import pack_tokens, unpack_tokens
from foreword.weights.safetensors import PACKAGED_MODEL
from measuring import machine, spread, watching_others
from table_workload import prompts

SUFFIX = 24
"""Tokens after the prefix, for ``lengths``."""
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
UNSHARED = {"requests": 8, "prompt": 256, "n_out": 16}


class Stopwatch:
    """Seconds per named call; wraps methods of objects."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, name: str, label: str) -> None:
        """Replace ``owner.name`` by itself and a clock; calls under one label add up."""
        call = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - start

        setattr(owner, name, timed)


def load_parts(model: str | None, memory: int, **options: Any) -> EngineParts:
    """The parts of an engine with ``memory`` bytes for KV."""
    return make_parts(EngineConfig(model=model, kv_cache_memory_bytes=memory, **options))


def load_engine(model: str | None, memory: int, **options: Any) -> Engine:
    """An engine with ``memory`` bytes for KV."""
    return load_parts(model, memory, **options).engine()


def request(prompt: list[int], n_out: int) -> EngineRequest:
    """Greedy, exactly so many tokens."""
    return EngineRequest(pack_tokens(prompt), SamplingParams(temperature=0.0, max_tokens=n_out, ignore_eos=True))


def tokenized(engine: Engine, text: str) -> list[int]:
    """The token ids of a prompt that is written out."""
    return unpack_tokens(engine.text.tokenizer.tokens(text, add_special_tokens=True))


def finish(engine: Engine) -> None:
    """Run what is left."""
    while engine.has_unfinished_requests():
        for generation in engine.step().news:
            if generation.error is not None:
                raise generation.error


def first_token(engine: Engine, prompt: list[int], n_out: int = 1) -> float:
    """Seconds from submission to the first token; the rest of the request runs outside the clock."""
    start = time.perf_counter()
    engine.add_request(request(prompt, n_out))
    while not engine.step().news:
        pass
    seconds = time.perf_counter() - start
    finish(engine)
    return seconds


@torch.inference_mode()
def bare_transformers(model: Any, prompt: list[int], cached: int) -> float:
    """Seconds of one forward pass over ``prompt[cached:]``; the KV of the rest is computed before the clock runs."""
    cache = DynamicCache(config=model.config)
    if cached:
        model(torch.tensor([prompt[:cached]]), past_key_values=cache, use_cache=True, logits_to_keep=1)
    ids = torch.tensor([prompt[cached:]])
    start = time.perf_counter()
    model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return time.perf_counter() - start


def warm(path: str | None, rounds: int) -> dict[str, Any]:
    """Part ``warm`` on one model; ``rounds`` times all prompts of the table workload."""
    parts = load_parts(path, 2**28)
    engine = parts.engine()
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "sdpa"}
    plain: Any = AutoModelForCausalLM.from_pretrained(path or PACKAGED_MODEL, **options)
    plain.eval()
    steps: list[Step] = []
    parts.runner.sinks.append(lambda step, _: steps.append(step))
    run = parts.runner.logits
    clock = Stopwatch()
    for owner, name, label in (
        (engine, "add_request", "add request"),
        (engine.scheduler, "schedule", "schedule"),
        (parts.runner, "logits", "forward"),
        (engine.scheduler, "commit", "commit"),
        (parts.runner, "sample", "sample"),
        (engine, "_advance", "output"),
    ):
        clock.watch(owner, name, label)
    encode = partial(tokenized, engine)
    columns: dict[str, list[float]] = {}
    texts = prompts()
    order = [*range(len(texts))] * rounds
    random.Random(0).shuffle(order)
    for index in tqdm(order, unit="request", desc="warm"):
        engine.reset_prefix_cache()
        first_token(engine, encode(texts[index - 1]), 8)  # cached: the table, and a question about another cell
        text = texts[index]
        row = one_warm(engine, plain, run, text, steps, clock)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    out: dict[str, Any] = {name: spread(values) for name, values in columns.items()}
    for base in ("runner", "transformers"):
        for name in ("from_ids", "from_text"):
            ratios = [a / b for a, b in zip(columns[name], columns[base], strict=True)]
            out[f"{name} / {base}"] = spread(ratios, 3)
    return out


def one_warm(
    engine: Engine, plain: Any, run: Callable[..., Any], text: str, steps: list[Step], clock: Stopwatch
) -> dict[str, float]:
    """One prompt: TTFT, then the same plan on the bare runner, then the same tokens in transformers."""
    clock.seconds.clear()
    steps.clear()
    began = time.perf_counter()
    ids = tokenized(engine, text)
    encoded = time.perf_counter()
    generation = engine.add_request(request(ids, 2))
    while not engine.step().news:
        pass
    ended = time.perf_counter()
    account = generation.account()
    assert len(steps) == 1, "a warm request takes one step"
    parts = dict(clock.seconds)
    start = time.perf_counter()
    run(steps[0])
    runner = time.perf_counter() - start
    finish(engine)
    return {
        "from_text": ended - began,
        "from_ids": ended - encoded,
        "runner": runner,
        "transformers": bare_transformers(plain, ids, account.cached),
        "tokenize": encoded - began,
        **parts,
        "prompt_tokens": float(account.prompt_tokens),
        "computed_tokens": float(account.computed),
    }


def unshared(path: str | None, rounds: int) -> dict[str, Any]:
    """Part ``unshared`` on one model."""
    requests, length, n_out = UNSHARED["requests"], UNSHARED["prompt"], UNSHARED["n_out"]
    probe = load_engine(path, 2**28, self_test=False)
    token_bytes = 2**28 // (probe.usage().total_blocks * 16)
    vocab = probe.info.vocab_size
    del probe
    memory = 2 * requests * (length + n_out + 16) * token_bytes
    engines = {name: load_engine(path, memory, enable_prefix_caching=name == "on") for name in ("on", "off")}
    rng = random.Random(1)
    rates: dict[str, list[float]] = {"on": [], "off": []}
    for number in tqdm(range(rounds + 3), unit="round", desc="unshared"):
        batch = [[rng.randrange(16, vocab) for _ in range(length)] for _ in range(requests)]
        for name in ("on", "off") if number % 2 else ("off", "on"):
            start = time.perf_counter()
            for prompt in batch:
                engines[name].add_request(request(prompt, n_out))
            finish(engines[name])
            if number >= 3:
                rates[name].append(requests * (length + n_out) / (time.perf_counter() - start))
    ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
    return {
        **UNSHARED,
        "on_tok_s": spread(rates["on"], 1),
        "off_tok_s": spread(rates["off"], 1),
        "on / off": spread(ratios, 4),
        "evicted_tokens": engines["on"].usage().evicted_tokens,
    }


def lengths(path: str | None, colds: int, warms: int, longest: int) -> dict[str, Any]:
    """Part ``lengths`` on one model."""
    engine = load_engine(path, 2**31 if path else 2**29)
    fitting = [n for n in LENGTHS if n <= longest and n + SUFFIX + 1 < engine.info.max_model_len]
    rng, vocab = random.Random(2), engine.info.vocab_size

    def some(count: int) -> list[int]:
        return [rng.randrange(16, vocab) for _ in range(count)]

    first_token(engine, some(256))
    rows = []
    for length in tqdm(fitting, unit="length", desc="lengths"):
        cold, again = [], []
        for _ in range(colds):
            head = some(length)
            cold.append(first_token(engine, head + some(SUFFIX)))
            again += [first_token(engine, head + some(SUFFIX)) for _ in range(warms)]
        rows.append({"prefix": length, "cold_s": spread(cold), "warm_s": spread(again)})
    return {"suffix": SUFFIX, "rows": rows}


def saved(path: str | None) -> dict[str, Any]:
    """Part ``saved``: one question after another about one table, each answered with 8 tokens."""
    engine = load_engine(path, 2**28)
    rows, prompt_tokens, computed = [], 0, 0
    for number, text in enumerate(tqdm(prompts(), unit="question", desc="saved"), start=1):
        generation = engine.add_request(request(tokenized(engine, text), 8))
        while not engine.step().news:
            pass
        account = generation.account()
        finish(engine)
        prompt_tokens += account.prompt_tokens
        computed += account.computed
        share = round(1 - computed / prompt_tokens, 4)
        rows.append({"questions": number, "prompt_tokens": prompt_tokens, "computed": computed, "saved": share})
    return {"rows": rows}


def show(name: str, result: dict[str, Any]) -> None:
    """Print one part's figures."""
    print(f"\n{name}  (other_cores {result['other_cores']})")
    for key, value in result.items():
        if key == "rows":
            for row in value:
                cells = (f"{k} {v['median'] if isinstance(v, dict) else v}" for k, v in row.items())
                print("  " + "  ".join(cells))
        elif isinstance(value, dict):
            print(f"  {key:28} {value['median']:<12} ({value['min']} to {value['max']}, {value['count']})")
        else:
            print(f"  {key:28} {value}")


def jobs(args: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """The parts to run, by the name under which their results appear."""
    models = {"small": args.model, **({"large": args.large} if args.large else {})}
    out: dict[str, Callable[[], dict[str, Any]]] = {}
    for part in args.parts.split(","):
        for name, path in models.items():
            if part == "warm":
                rounds = args.rounds if name == "small" else 1
                out[f"warm {name}"] = partial(warm, path, rounds)
            elif part == "unshared":
                rounds = 8 * args.rounds if name == "small" else 2 * args.rounds
                out[f"unshared {name}"] = partial(unshared, path, rounds)
        last = list(models)[-1]
        if part == "lengths":
            out[f"lengths {last}"] = partial(lengths, models[last], args.colds, 5, args.longest)
        elif part == "saved":
            out["saved small"] = partial(saved, args.model)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the small model; default: the one in the package")
    parser.add_argument("--large", help="a second, larger model")
    parser.add_argument("--parts", default="warm,unshared,lengths,saved")
    parser.add_argument("--rounds", type=int, default=4, help="how often the prompts are repeated")
    parser.add_argument("--colds", type=int, default=3, help="cold requests a length")
    parser.add_argument("--longest", type=int, default=8192, help="longest prefix")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file; parts that it has already are replaced")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    results["machine"] = machine()
    for name, job in jobs(args).items():
        others: dict[str, Any] = {}
        with watching_others(others):
            result = job()
        results[name] = {**others, **result}
        show(name, results[name])
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
