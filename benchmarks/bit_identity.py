"""The same bits with the cache on or off: a handful of prompts through every way of computing them.

    python benchmarks/bit_identity.py --model DIR [--quantization none --quantization q4_k ...] [--ways] [--json FILE]

Foreword: each prompt is computed alone, whole, without a cache and without drafts; then with the cache, cold, from the
cache, in chunks, in one batch, all of it together, with so little memory that requests make way for others, and while up to
63 others generate beside it; tokens are drafted where that pays. Compared are the logits of every sampled token and the keys
and values of every token. So for each quantisation and everything that KV can be kept in; and each path of kernels that the
processor has against the best one. DIR may be a GGUF file as well, or ``smollm2``.

Beside a directory, transformers with SDPA and a DynamicCache: logits of all prompt positions in one pass, against the same
in chunks, behind a cached prefix, and in one batch padded on the left. How far they move, and how many greedy tokens that
changes.
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
from foreword.backends.registry import KV_DTYPES
from foreword.engine import EngineConfig, EngineRequest, RequestOutput, SamplingParams
from foreword.engine.build import make_parts
from foreword.engine.runner import Step, StepChunk
from foreword.tokens import pack_tokens
from measuring import machine

N_OUT = 6
MEMORY = 2**30
CROWD = 64
CROWDS = (1, 2, 3, 5, 8, 17, 33, CROWD)
"""Requests that generate at the same time."""
NUMBERS = [
    *((quantization, "float32") for quantization in ("none", "int8", "q8_0", "q4_0", "q4_k")),
    *(("none", kv_dtype) for kv_dtype in KV_DTYPES[1:]),
]
"""What weights are computed in, and what KV are kept in."""
LAST = 24


@dataclass
class Trace:
    """What one request computed: logits by position of the token before, keys and values of its tokens, cached tokens.

    behind
        By position all tokens up to there, which may have been drafted.
    """

    logits: dict[int, torch.Tensor] = field(default_factory=dict)
    behind: dict[int, bytes] = field(default_factory=dict)
    kv: list[torch.Tensor] = field(default_factory=list)
    cached: int = 0

    def end(self, output: RequestOutput) -> None:
        """The request has ended: logits behind what was drafted and is not in its answer are nobody's."""
        self.cached = output.num_cached_tokens
        whole = pack_tokens([*(output.prompt_token_ids or ()), *output.outputs[0].token_ids])
        self.logits = {at: row for at, row in self.logits.items() if whole.startswith(self.behind[at])}


class Recorder:
    """An engine whose logits and KV are kept."""

    def __init__(self, model: str, **options: Any):
        parts = make_parts(EngineConfig(model=model, **{"kv_cache_memory_bytes": MEMORY, "max_num_seqs": CROWD, **options}))
        parts.runner.sinks.append(self._keep)
        self.memory = parts.runner.memory
        self.engine = parts.engine()
        self.traces: dict[str, Trace] = {}

    def _keep(self, step: Step, logits: list[torch.Tensor]) -> None:
        for chunk, rows in zip(step.chunks, logits, strict=True):
            trace = self.traces[chunk.request_id]
            if chunk.sampling is not None:
                known = np.concatenate((chunk.tokens[: chunk.end - len(chunk.draft)], np.array(chunk.draft, np.int32)))
                for at, row in enumerate(rows.clone(), start=len(known) - len(rows)):
                    trace.logits[at], trace.behind[at] = row, known[: at + 1].tobytes()
            trace.kv = self.read_kv(chunk)

    def read_kv(self, chunk: StepChunk) -> list[torch.Tensor]:
        """Keys and values of every layer for the known tokens of a request up to the end of a chunk that was computed."""
        at, size = np.arange(chunk.end - len(chunk.draft)), self.memory.block_size
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
                if generation.finished:
                    self.traces[generation.request_id].end(generation.output())
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


def make_crowd(vocab: int) -> list[list[int]]:
    """Prompts that end shortly before a block does; each begins as the one before it does."""
    rng, prompts = random.Random(6), [[7]]
    while len(prompts) <= CROWD:
        cut, length = rng.randrange(40), 43 + rng.randrange(5)
        begin = prompts[-1][:cut]
        prompts.append(begin + [rng.randrange(16, vocab) for _ in range(length - len(begin))])
    return prompts[1:]


def shared_tokens(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KV [heads, tokens, size] of the tokens that both have: what was drafted in the last step is in one of them only."""
    tokens = min(one.shape[1], other.shape[1])
    assert tokens + N_OUT >= max(one.shape[1], other.shape[1])
    return one[:, :tokens].contiguous(), other[:, :tokens].contiguous()


def compare(got: list[Trace], alone: list[Trace]) -> dict[str, int]:
    """Numbers compared and numbers whose bits differ."""
    count = {"cached_tokens": sum(trace.cached for trace in got), "logits": 0, "kv": 0, "different": 0}
    for trace, expected in zip(got, alone, strict=True):
        assert trace.logits.keys() == expected.logits.keys()
        pairs = [(trace.logits[at], expected.logits[at]) for at in trace.logits]
        kv = [shared_tokens(a, b) for a, b in zip(trace.kv, expected.kv, strict=True)]
        count["logits"] += sum(a.numel() for a, _ in pairs)
        count["kv"] += sum(a.numel() for a, _ in kv)
        for a, b in pairs + kv:
            if not torch.equal(a, b):
                count["different"] += int((a.view(torch.int32) != b.view(torch.int32)).sum())
    return count


def foreword_rows(model: str, scale: float, **numbers: str) -> list[dict[str, Any]]:
    """One row a way of computing; ``numbers``: options of what is computed in."""
    off = Recorder(model, enable_prefix_caching=False, draft="off", max_num_batched_tokens=4096, **numbers)
    prompts, crowd = make_prompts(off.engine.info.vocab_size, scale), make_crowd(off.engine.info.vocab_size)
    lower = [target.path for target in targets()[1:]]
    bar = tqdm(total=8 + len(lower), unit="way", desc=", ".join(numbers.values()))
    rows: list[dict[str, Any]] = []

    def add(name: str, got: list[Trace], expected: list[Trace]) -> None:
        rows.append({**numbers, "way": name, "requests": len(got), **compare(got, expected)})
        bar.update()

    alone, crowd_alone = off.in_turn(prompts), off.in_turn(crowd)
    del off
    bar.update()
    on = Recorder(model, max_num_batched_tokens=4096, **numbers)
    add("cache on, in turn: partial hits", on.in_turn(prompts), alone)
    add("cache on, again: whole hits", on.in_turn(prompts), alone)
    on.engine.reset_prefix_cache()
    add("cache on, one batch: shared in flight", on.together(prompts), alone)
    crowds = [trace for count in CROWDS for trace in on.together(crowd[:count])]
    add(f"{', '.join(map(str, CROWDS))} at a time", crowds, [each for count in CROWDS for each in crowd_alone[:count]])
    block = MEMORY // on.engine.usage().total_blocks
    del on
    small = Recorder(model, max_num_batched_tokens=100, **numbers)
    add("cache on, chunks of 100, one batch", small.together(prompts), alone)
    small.engine.reset_prefix_cache()
    small.in_turn(prompts[:1])
    add("cache on, chunks of 100, one batch behind a cached prefix", small.together(prompts), alone)
    del small
    little = Recorder(model, kv_cache_memory_bytes=CROWD * block, max_num_batched_tokens=100, max_model_len=512, **numbers)
    add("a block of memory for each of 64: preempted", little.together(crowd), crowd_alone)
    assert little.engine.state().preemptions
    del little
    for path in lower:
        other = Recorder(model, kernel_path=path, max_num_batched_tokens=4096, **numbers)
        add(f"kernels for {path}, one batch", other.together(prompts), alone)
        del other
    bar.close()
    return rows


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All ways of one kind of numbers in one row."""
    counted = ("requests", "cached_tokens", "logits", "kv", "different")
    kind = {key: rows[0][key] for key in ("quantization", "kv_dtype")}
    return {**kind, "ways": len(rows), **{key: sum(row[key] for row in rows) for key in counted}}


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


def keep(results: dict[str, Any], file: Path | None) -> None:
    """Write what is known so far: all of it takes long with a real model."""
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument(
        "--quantization", action="append", help="of linear layers; default: all of NUMBERS, and what KV take"
    )
    parser.add_argument("--ways", action="store_true", help="a line for each way, not one for each kind of numbers")
    parser.add_argument("--scale", type=float, default=1.0, help="lengthens or shortens the prompts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"machine": machine(), "foreword": []}
    kinds = NUMBERS if args.quantization is None else [(name, "float32") for name in args.quantization]
    lines: list[dict[str, Any]] = []
    for quantization, kv_dtype in kinds:
        rows = foreword_rows(args.model, args.scale, quantization=quantization, kv_dtype=kv_dtype)
        results["foreword"] += rows
        lines += rows if args.ways else [summed(rows)]
        keep(results, args.json)
    print("\nForeword, against each prompt alone, whole, cache off\n\n" + table(lines))
    if Path(args.model).is_dir():
        results["transformers"] = transformers_rows(args.model, args.scale)
        print("\ntransformers with SDPA, against each prompt in one pass\n\n" + table(results["transformers"]))
    keep(results, args.json)
    if any(row["different"] for row in results["foreword"]):
        raise SystemExit("Some bits differ.")


if __name__ == "__main__":
    main()
