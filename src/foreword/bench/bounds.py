"""The least time that a load can take on a machine: from the model's arithmetic and bytes and the machine's rates.

A step of the ideal engine takes as long as its arithmetic or its reading, whichever is longer. It computes a token once,
whoever shares it, prompts in one step; it reads the weights once a step and the KV of a shared token once for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foreword.backends.base import Backend
from foreword.bench.machine import Limits
from foreword.bench.workloads import Answer, Round
from foreword.engine.model import LoadedModel
from foreword.tokens import TOKEN_BYTES, pack_tokens, shared_tokens


@dataclass(frozen=True)
class LayerWork:
    """A layer's attention: arithmetic operations for one query and one key, KV bytes of a token, and its window."""

    flops: int
    kv_bytes: int
    window: int | None


@dataclass(frozen=True)
class ModelWork:
    """What a model computes and reads.

    body, head
        Weights that every token passes, and those for tokens whose logits are wanted. The experts of a mixture are not
        counted, which makes the bound a looser one.
    weight_bytes
        Of both; a token's row of the embedding is not counted.
    """

    body: int
    head: int
    weight_bytes: int
    layers: tuple[LayerWork, ...]

    @classmethod
    def of(cls, model: LoadedModel, backend: Backend[Any]) -> "ModelWork":
        """Asks the backend for the model's linear layers, and the model for what its layers asked of attention."""
        output, body, head, size = model.module.get_output_embeddings(), 0, 0, 0
        for linear in backend.linear_layers(model.module):
            if ".experts." not in linear.name:
                weights = linear.in_features * linear.out_features
                size += linear.weight_bytes
                body, head = (body, head + weights) if linear.module is output else (body + weights, head)
        layers = []
        for layer in model.layers:
            kv_bytes = backend.block_bytes([layer.shape]) // backend.options.block_size
            flops = 2 * layer.query_heads * (layer.shape.key_size + layer.shape.value_size)
            layers.append(LayerWork(flops, kv_bytes, layer.call.window))
        return cls(body, head, size, tuple(layers))

    def step_seconds(self, limits: Limits, new: Sequence[tuple[int, int]], context: int) -> float:
        """Least seconds of a step.

        ``new``: for each request, how many tokens it computes and how many stand before them; ``context``: tokens whose KV
        was there before the step and is read, each counted once.
        """
        tokens = sum(count for count, _ in new)
        linear = 2 * (self.body * tokens + self.head * len(new))
        attention = sum(layer.flops * sum(_pairs(count, old, layer.window) for count, old in new) for layer in self.layers)
        read = self.weight_bytes
        for layer in self.layers:
            read += layer.kv_bytes * (context if layer.window is None else min(context, layer.window))
        seconds = linear / limits.linear_gflops + attention / limits.gflops
        return max(seconds, read / limits.read_gb_s) / 1e9


def _pairs(count: int, old: int, window: int | None) -> int:
    """Query and key pairs of ``count`` tokens behind ``old`` ones."""
    pairs = count * old + count * (count + 1) // 2
    if window is None or old + count <= window:
        return pairs
    cut = max(old, window)  # from here on a token sees ``window`` keys
    return _pairs(cut - old, old, None) + (old + count - cut) * window


def ideal_rounds(work: ModelWork, limits: Limits, rounds: Sequence[Round], sharing: bool = True) -> list[Round]:
    """The same rounds with the times of an ideal engine. Without ``sharing`` each request computes and reads for itself."""
    known: list[bytes] = []
    out = []
    for each in rounds:
        prompts = [pack_tokens(ask.prompt) for ask in each.asks]
        new, tree = [], 0
        for index, prompt in enumerate(prompts):
            length = len(prompt) // TOKEN_BYTES
            earlier = prompts[:index] if sharing else []
            beside = max((shared_tokens(prompt, other) for other in earlier), default=0)
            before = max((shared_tokens(prompt, other) for other in known), default=0) if sharing else 0
            old = min(max(beside, before), length - 1)
            tree += length - beside
            new.append((length - old, old))
        first = work.step_seconds(limits, new, tree - sum(count for count, _ in new))
        ends = [first]
        for step in range(1, max(ask.n_out for ask in each.asks)):
            going = [len(ask.prompt) for ask in each.asks if ask.n_out > step]
            rows = [(1, length + step - 1) for length in going]
            ends.append(ends[-1] + work.step_seconds(limits, rows, tree + len(going) * (step - 1)))
        answers = [
            Answer(answer.tokens, old, first, ends[ask.n_out - 1])
            for ask, answer, (_, old) in zip(each.asks, each.answers, new, strict=True)
        ]
        out.append(Round(each.asks, answers))
        known += [pack_tokens(ask.prompt + answer.tokens[:-1]) for ask, answer in zip(each.asks, each.answers, strict=True)]
    return out
