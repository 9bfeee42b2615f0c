"""What weights and KV in few bits change: greedy tokens, log-probabilities and perplexity of a GGUF model on a text.

    python benchmarks/accuracy.py [--model smollm2] [--format q4_k ...] [--tokens 2048] [--json FILE]

First the file as it is, beside what its blocks stand for in float32; and float32 with keys and values kept in bfloat16 and
in int8. Then, for each weight format, the model's linear layers brought to it, beside float32 with the very weights that the
format now stands for: what differs is what our kernels lose, since they bring rows to whole numbers, of 8 bits or of 16.

Teacher-forced: at every position of the text the likeliest next token is compared, whatever came before. KL is the mean,
over positions, of the divergence from float32's distribution, in nats. The text is Python's own reference, as ``pydoc`` has
it.
"""

import argparse
import json
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch

from foreword.backends.base import AttentionStep, Span
from foreword.backends.cpu.formats import FORMATS, weight_format
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.registry import KV_DTYPES, make_backend
from foreword.engine.forward import run_model
from foreword.engine.model import load_model
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.gguf import EMBEDDING, GgufCheckpoint
from foreword.weights.opening import open_checkpoint
from measuring import machine

WINDOW = 1024
"""Tokens that are computed together; each begins a context of its own."""
AT_ONCE = 128
"""Positions whose distributions are compared at a time."""
ACTIVATION_BITS = (8, 16)
FLOATS = ("float32", "f16", "bf16")
"""Formats that multiply rows as they are."""


class InFormat(GgufCheckpoint):
    """A file's model with weights in float32 that are what a format makes of them. The embedding is that of the file."""

    def __init__(self, path: Path, name: str, format: str):
        super().__init__(path, name)
        self._format = weight_format(format, best_target())
        self._linear = super().block_formats().keys() - {EMBEDDING}
        self._made: dict[str, torch.Tensor] = {}

    def block_formats(self) -> dict[str, str]:
        """None: all are numbers."""
        return {}

    def tensor(self, name: str) -> torch.Tensor | None:
        """See Checkpoint."""
        if name not in self._made:
            found = super().tensor(name)
            if found is None or name not in self._linear:
                return found
            self._made[name] = self._format.rows(self._format.pack(found.float()), torch.arange(len(found)))
        return self._made[name]


@dataclass(frozen=True)
class Distance:
    """How far one model's answers are from another's."""

    equal: int
    positions: int
    kl: float


@torch.inference_mode()
def logits_of(checkpoint: Checkpoint, quantization: str, kv_dtype: str, ids: list[int], bits: int = 8) -> list[torch.Tensor]:
    """Logits [tokens, vocabulary] behind each token of each window; ``bits`` of rows, where these are whole numbers."""
    backend = make_backend("cpu", 16, kv_dtype, quantization, activation_bits=bits)
    model = load_model(checkpoint, backend)
    blocks = np.arange(WINDOW // 16, dtype=np.int32)
    memory = backend.make_memory(model.shapes, len(blocks))
    found = []
    for begin in range(0, len(ids), WINDOW):
        own = ids[begin : begin + WINDOW]
        step = AttentionStep.of(backend.attention, memory, [Span(0, 0, len(own), blocks[: -(-len(own) // 16)])], len(own))
        at = torch.arange(len(own))
        found.append(run_model(model.module, torch.tensor(own), at, at, step).clone())
    return found


def perplexity(windows: list[torch.Tensor], ids: list[int]) -> float:
    """exp of the mean negative log-probability of a token, but for the first of each window."""
    total = count = 0.0
    for number, logits in enumerate(windows):
        following = torch.tensor(ids[number * WINDOW : (number + 1) * WINDOW])[1:]
        total += float(torch.nn.functional.cross_entropy(logits[:-1].double(), following, reduction="sum"))
        count += len(following)
    return math.exp(total / count)


def distance(windows: list[torch.Tensor], exact: list[torch.Tensor]) -> Distance:
    """Of logits from those of float32."""
    equal = positions = 0
    kl = 0.0
    for some, others in zip(windows, exact, strict=True):
        for one, other in zip(torch.split(some, AT_ONCE), torch.split(others, AT_ONCE), strict=True):
            equal += int((one.argmax(-1) == other.argmax(-1)).sum())
            positions += len(one)
            ours, theirs = (logits.double().log_softmax(-1) for logits in (one, other))
            kl += float((theirs.exp() * (theirs - ours)).sum())
    return Distance(equal, positions, kl / positions)


def row(name: str, windows: list[torch.Tensor], exact: list[torch.Tensor], ids: list[int]) -> dict[str, Any]:
    """One line of the table."""
    found = distance(windows, exact)
    return {
        "numbers": name,
        "greedy tokens as float32": f"{100 * found.equal / found.positions:.2f} %",
        "differ": found.positions - found.equal,
        "KL": f"{found.kl:.2e}",
        "perplexity": round(perplexity(windows, ids), 4),
        "in float32": round(perplexity(exact, ids), 4),
    }


def told(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows, each printed as a line of a markdown table when it comes."""
    for number, each in enumerate(rows):
        if not number:
            print("| " + " | ".join(each) + " |\n|" + "---|" * len(each))
        print("| " + " | ".join(map(str, each.values())) + " |", flush=True)
        yield each


def measure(model: str, formats: list[str], count: int) -> Iterator[dict[str, Any]]:
    """Rows: the file as it is, what KV are kept in, and the formats."""
    checkpoint = open_checkpoint(model)
    if not isinstance(checkpoint, GgufCheckpoint):
        raise SystemExit(f"{model} is no GGUF file.")
    text = "\n\n".join(topics[name] for name in sorted(topics))
    ids = checkpoint.described().tokenizer.encode(text, add_special_tokens=False).ids[:count]
    stored = {format for name, format in checkpoint.block_formats().items() if name != EMBEDDING}
    plain = logits_of(checkpoint, "float32", "float32", ids)
    for bits in ACTIVATION_BITS:
        told = f"{', '.join(sorted(stored))}, as in the file, rows in {bits} bits"
        yield row(told, logits_of(checkpoint, "none", "float32", ids, bits), plain, ids)
    for kv_dtype in KV_DTYPES[1:]:
        yield row(f"float32, KV in {kv_dtype}", logits_of(checkpoint, "float32", kv_dtype, ids), plain, ids)
    for name in formats:
        exact = logits_of(InFormat(checkpoint.path, model, name), "float32", "float32", ids)
        if name in FLOATS:
            yield row(name, logits_of(checkpoint, name, "float32", ids), exact, ids)
            continue
        for bits in ACTIVATION_BITS:
            told = f"{name}, rows in {bits} bits"
            yield row(told, logits_of(checkpoint, name, "float32", ids, bits), exact, ids)


def main() -> None:
    """Print a row for each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a GGUF file")
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all")
    parser.add_argument("--tokens", type=int, default=2 * WINDOW)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    formats = args.format or [name for name in FORMATS if name != "float32"]
    print(f"Python {platform.python_version()}'s reference, {args.tokens} tokens\n")
    rows = list(told(measure(args.model, formats, args.tokens)))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
