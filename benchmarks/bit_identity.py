"""The same bits with the cache on or off: a handful of prompts through every way of computing them.

    python benchmarks/bit_identity.py --model DIR [--quantization none --quantization q4_k ...] [--json FILE]

Foreword: each prompt is computed alone, whole, without a cache; then with the cache, cold, from the cache, in chunks, in one
batch, and all of it together. Compared are the logits of every sampled token and the keys and values of every token. So for
each quantisation; and each path of kernels that the processor has against the best one.

Beside it transformers with SDPA and a DynamicCache: logits of all prompt positions in one pass, against the same in chunks,
behind a cached prefix, and in one batch padded on the left. How far they move, and how many greedy tokens that changes.
"""

import argparse
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, DynamicCache

from foreword.backends.cpu.kernels.target import targets
from foreword.engine import EngineConfig, EngineRequest, SamplingParams
from foreword.engine.build import make_parts
from foreword.engine.runner import Step, StepChunk
from foreword.tokens import pack_tokens
from measuring import machine

N_OUT = 6
LAST = 24


@dataclass
class Trace:
    """What one request computed: logits by position of the token before, keys and values of its tokens, cached tokens."""

    logits: dict[int, torch.Tensor] = field(default_factory=dict)
    kv: list[torch.Tensor] = field(default_factory=list)
    cached: int = 0


class Recorder:
    """An engine whose logits and KV are kept."""

    def __init__(self, model: str, **options: Any):
        parts = make_parts(EngineConfig(model=model, kv_cache_memory_bytes=2**30, **options))
        parts.runner.sinks.append(self._keep)
        self.memory = parts.runner.memory
        self.engine = parts.engine()
        self.traces: dict[str, Trace] = {}

    def _keep(self, step: Step, logits: list[torch.Tensor]) -> None:
        for chunk, rows in zip(step.chunks, logits, strict=True):
            if chunk.sampling is not None:
                self.traces[chunk.request_id].logits[chunk.end - 1] = rows[-1].clone()
            self.traces[chunk.request_id].kv = self.read_kv(chunk)

    def read_kv(self, chunk: StepChunk) -> list[torch.Tensor]:
        """Keys and values of every layer for the tokens of a request up to the end of a chunk that was computed."""
        at, size = np.arange(chunk.end), self.memory.block_size
        places = torch.from_numpy(chunk.blocks[at // size].astype(np.int64) * size + at % size)
        return [part for layer in range(len(self.memory.layers)) for part in self.memory.read(layer, places)]

    def together(self, prompts: list[list[int]]) -> list[Trace]:
        """Run prompts at the same time."""
        params = SamplingParams(temperature=0.0, max_tokens=N_OUT, ignore_eos=True)
        asked = [EngineRequest(pack_tokens(prompt), params) for prompt in prompts]
        ids = [self.engine.add_request(request).request_id for request in asked]
        self.traces.update((request_id, Trace()) for request_id in ids)
        while self.engine.has_unfinished_requests():
            for generation in self.engine.step().news:
                self.traces[generation.request_id].cached = generation.output().num_cached_tokens
        return [self.traces.pop(request_id) for request_id in ids]

    def in_turn(self, prompts: list[list[int]]) -> list[Trace]:
        """Run prompts one after another."""
        return [self.together([prompt])[0] for prompt in prompts]


def make_prompts(vocab: int, scale: float) -> list[list[int]]:
    """Five prompts; beginnings are shared to tokens inside and at the edges of blocks and tiles."""
    rng = random.Random(5)

    def some(count: int) -> list[int]:
        return [rng.randrange(16, vocab) for _ in range(max(1, int(count * scale)))]

    first = some(700)
    cuts = [int(cut * scale) for cut in (512, 603, 650, 37)]
    return [first, *(first[:cut] + some(rest) for cut, rest in zip(cuts, (90, 24, 400, 150), strict=True))]


def compare(got: list[Trace], alone: list[Trace]) -> dict[str, int]:
    """Numbers compared and numbers whose bits differ."""
    count = {"cached_tokens": sum(trace.cached for trace in got), "logits": 0, "kv": 0, "different": 0}
    for trace, expected in zip(got, alone, strict=True):
        assert trace.logits.keys() == expected.logits.keys()
        pairs = [(trace.logits[at], expected.logits[at]) for at in trace.logits]
        count["logits"] += sum(a.numel() for a, _ in pairs)
        count["kv"] += sum(tensor.numel() for tensor in trace.kv)
        for a, b in pairs + list(zip(trace.kv, expected.kv, strict=True)):
            if not torch.equal(a, b):
                count["different"] += int((a.view(torch.int32) != b.view(torch.int32)).sum())
    return count


def foreword_rows(model: str, scale: float, quantization: str) -> list[dict[str, Any]]:
    """One row a way of computing."""
    off = Recorder(model, quantization=quantization, enable_prefix_caching=False, max_num_batched_tokens=4096)
    prompts = make_prompts(off.engine.info.vocab_size, scale)
    lower = [target.path for target in targets()[1:]]
    bar = tqdm(total=6 + len(lower), unit="way", desc=f"foreword, {quantization}")
    rows: list[dict[str, Any]] = []

    def add(name: str, got: list[Trace]) -> None:
        rows.append({"quantization": quantization, "way": name, "requests": len(got), **compare(got, alone)})
        bar.update()

    alone = off.in_turn(prompts)
    bar.update()
    on = Recorder(model, quantization=quantization, max_num_batched_tokens=4096)
    add("cache on, in turn: partial hits", on.in_turn(prompts))
    add("cache on, again: whole hits", on.in_turn(prompts))
    on.engine.reset_prefix_cache()
    add("cache on, one batch: shared in flight", on.together(prompts))
    del on
    small = Recorder(model, quantization=quantization, max_num_batched_tokens=100)
    add("cache on, chunks of 100, one batch", small.together(prompts))
    small.engine.reset_prefix_cache()
    small.in_turn(prompts[:1])
    add("cache on, chunks of 100, one batch behind a cached prefix", small.together(prompts))
    del small
    for path in lower:
        other = Recorder(model, quantization=quantization, kernel_path=path, max_num_batched_tokens=4096)
        add(f"kernels for {path}, one batch", other.together(prompts))
        del other
    bar.close()
    return rows


@torch.inference_mode()
def in_pieces(model: Any, prompt: list[int], sizes: list[int]) -> torch.Tensor:
    """Logits [tokens, vocabulary] of a prompt that is computed in pieces of the given sizes."""
    cache, out, at = DynamicCache(config=model.config), [], 0
    for size in sizes:
        ids = torch.tensor([prompt[at : at + size]])
        out.append(model(ids, past_key_values=cache, use_cache=True).logits[0])
        at += size
    return torch.cat(out)


@torch.inference_mode()
def padded_batch(model: Any, prompts: list[list[int]]) -> list[torch.Tensor]:
    """Logits of prompts in one batch, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    logits = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [logits[row, width - len(prompt) :] for row, prompt in enumerate(prompts)]


def chunks(total: int, size: int) -> list[int]:
    """Pieces of ``size``, and the rest."""
    return [min(size, total - at) for at in range(0, total, size)]


def behind_prefix(total: int, size: int = LAST) -> list[int]:
    """A prefix of at least one token, and what is behind it, at most LAST tokens, in pieces of ``size``."""
    prefix = max(1, total - LAST)
    return [prefix, *chunks(total - prefix, size)]


def transformers_rows(model_dir: str, scale: float) -> list[dict[str, Any]]:
    """The same prompts in plain transformers."""
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="sdpa")
    model.eval()
    prompts = make_prompts(model.config.vocab_size, scale)
    ways = {
        "chunks of 256": lambda prompt: in_pieces(model, prompt, chunks(len(prompt), 256)),
        "chunks of 100": lambda prompt: in_pieces(model, prompt, chunks(len(prompt), 100)),
        f"cached prefix, then the last {LAST} tokens": lambda prompt: in_pieces(model, prompt, behind_prefix(len(prompt))),
        f"token by token from the last {LAST} on": lambda prompt: in_pieces(model, prompt, behind_prefix(len(prompt), 1)),
    }
    whole = [in_pieces(model, prompt, [len(prompt)]) for prompt in prompts]
    rows = []
    for name, way in tqdm(ways.items(), unit="way", desc="transformers"):
        rows.append({"way": name, **moved([way(prompt) for prompt in prompts], whole)})
    rows.append({"way": "one batch, padded on the left", **moved(padded_batch(model, prompts), whole)})
    return rows


def moved(got: list[torch.Tensor], whole: list[torch.Tensor]) -> dict[str, Any]:
    """How far logits moved, at how many positions, and how many greedy tokens that changes."""
    positions = sum(len(a) for a in whole)
    differ = sum(int((a != b).any(-1).sum()) for a, b in zip(got, whole, strict=True))
    changed = sum(int((a.argmax(-1) != b.argmax(-1)).sum()) for a, b in zip(got, whole, strict=True))
    furthest = max(float((a - b).abs().max()) for a, b in zip(got, whole, strict=True))
    return {
        "positions": positions,
        "positions_that_differ": differ,
        "largest_difference": furthest,
        "greedy_tokens_changed": changed,
        "share_changed": round(changed / positions, 6),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:.2g}" if isinstance(v, float) else f"{v}" for v in row.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--quantization", action="append", help="of linear layers; default: none, int8, q8_0, q4_0, q4_k")
    parser.add_argument("--scale", type=float, default=1.0, help="lengthens or shortens the prompts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"machine": machine(), "foreword": []}
    for quantization in args.quantization or ("none", "int8", "q8_0", "q4_0", "q4_k"):
        results["foreword"] += foreword_rows(args.model, args.scale, quantization)
    print("\nForeword, against each prompt alone, whole, cache off\n\n" + table(results["foreword"]))
    if Path(args.model).is_dir():
        results["transformers"] = transformers_rows(args.model, args.scale)
        print("\ntransformers with SDPA, against each prompt in one pass\n\n" + table(results["transformers"]))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if any(row["different"] for row in results["foreword"]):
        raise SystemExit("Some bits differ.")


if __name__ == "__main__":
    main()
