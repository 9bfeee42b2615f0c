"""What does one very long prompt do to the others?

    python benchmarks/fairness.py [--model MODEL] [--long 16000] [--short 64] [--json FILE]

Short requests (64 tokens in, 64 out) run together, without and then with one long prompt, which comes when all of them are
generating. Of the short ones: the time between two tokens (ITL), and the largest of any. Then the other way round: the
long prompt has begun when the short ones come, and their time to first token (TTFT) is shown beside the time that the long
prompt takes in all. Without a model: a tiny random one, made for the purpose.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from foreword.engine.build import build_engine
from foreword.engine.config import EngineConfig
from foreword.engine.engine import Engine
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens
from foreword.weights.safetensors import PACKAGED_MODEL
from measuring import machine, watching_others

IN, OUT = 64, 64


def write_tiny_model(path: Path) -> str:
    """A Llama of 2 layers with the packaged tokenizer and 32k tokens of context."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(PACKAGED_MODEL)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


class Load:
    """An engine, and the times of every request's tokens."""

    def __init__(self, engine: Engine, seed: int):
        self.engine = engine
        self.random = random.Random(seed)
        self.sent: dict[str, float] = {}
        self.tokens: dict[str, list[float]] = {}

    def send(self, length: int, out: int) -> str:
        """Queue a prompt of random tokens."""
        prompt = [self.random.randrange(16, self.engine.info.vocab_size) for _ in range(length)]
        params = SamplingParams(temperature=0, max_tokens=out, ignore_eos=True)
        request_id = self.engine.add_request(EngineRequest(pack_tokens(prompt), params)).request_id
        self.sent[request_id] = self.engine.clock()
        self.tokens[request_id] = []
        return request_id

    def step(self) -> None:
        """One step; an output of a request is a token of it."""
        for generation in self.engine.step().news:
            if generation.error is not None:
                raise generation.error
            self.tokens[generation.request_id].append(self.engine.clock())

    def finish(self) -> None:
        while self.engine.has_unfinished_requests():
            self.step()

    def between(self, ids: list[str]) -> np.ndarray[Any, Any]:
        """Milliseconds between tokens."""
        return 1e3 * np.concatenate([np.diff(self.tokens[request_id]) for request_id in ids])

    def first(self, request_id: str) -> float:
        return self.tokens[request_id][0] - self.sent[request_id]


def generating(engine: Engine, seed: int, short: int, long: int | None) -> dict[str, float]:
    """ITL of the short ones; ``long`` tokens come when all of them have their first token."""
    load = Load(engine, seed)
    ids = [load.send(IN, OUT) for _ in range(short)]
    while not all(load.tokens[request_id] for request_id in ids):
        load.step()
    if long is not None:
        load.send(long, 1)
    begun = {request_id: len(load.tokens[request_id]) for request_id in ids}
    load.finish()
    for request_id, count in begun.items():
        load.tokens[request_id] = load.tokens[request_id][count - 1 :]
    times = load.between(ids)
    p50, p99 = np.percentile(times, (50, 99))
    return {"itl_p50_ms": round(p50, 1), "itl_p99_ms": round(p99, 1), "itl_max_ms": round(times.max(), 1)}


def arriving(engine: Engine, seed: int, short: int, long: int) -> dict[str, float]:
    """TTFT of short ones that come behind a long prompt, and of the long one."""
    load = Load(engine, seed)
    first = load.send(long, 1)
    load.step()
    ids = [load.send(IN, OUT) for _ in range(short)]
    load.finish()
    times = [load.first(request_id) for request_id in ids]
    p50, p99 = np.percentile(times, (50, 99))
    return {"ttft_p50_s": round(p50, 2), "ttft_p99_s": round(p99, 2), "ttft_long_s": round(load.first(first), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--long", type=int, default=16_000)
    parser.add_argument("--short", type=int, default=64)
    parser.add_argument("--batched-tokens", type=int, default=EngineConfig.max_num_batched_tokens)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or write_tiny_model(Path(folder))
        options = {"max_num_seqs": args.short + 1, "max_num_batched_tokens": args.batched_tokens}
        memory = 4 * 2**30 if args.model else 2**28
        engine = build_engine(EngineConfig(model=model, kv_cache_memory_bytes=memory, **options))
    generating(engine, 0, args.short, None)  # warm-up
    results: dict[str, Any] = {"machine": machine(), **vars(args), "json": None}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "without": lambda: generating(engine, 1, args.short, None),
        "with": lambda: generating(engine, 2, args.short, args.long),
        "behind": lambda: arriving(engine, 3, args.short, args.long),
    }
    for name, run in runs.items():
        load: dict[str, Any] = {}
        with watching_others(load):
            figures = run()
        results[name] = {**figures, **load}
        print(name, results[name])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
