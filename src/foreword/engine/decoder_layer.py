"""Decoder layers of the common shape, with our kernels for all that they do.

Llama, Mistral, Qwen2, Qwen3 and their like differ in little: a norm, attention with rotary positions, a norm, a gated
activation, each half added to what came in. transformers does that in some forty small operations a layer, which take longer
than the arithmetic in them. A layer is replaced where its parts have the names of that shape *and* both give the same on
random rows; others stay as transformers wrote them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from foreword.engine.attention import AttentionStep, LayerCall
from foreword.engine.kernels.decoder import add_rms_norm, gate, rms_norm, rotate
from foreword.engine.kernels.emit import LANES
from foreword.engine.memory import LayerShape

LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}
MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
TOLERANCE = 1e-5
"""Largest difference of two ways of computing the same in float32, relative to the largest number."""


@dataclass(frozen=True)
class ProbedLayer:
    """What a run through the model has shown of one layer: the module, its arguments, and its call of attention."""

    module: nn.Module
    arguments: dict[str, Any]
    call: LayerCall
    shape: LayerShape


class DecoderLayer(nn.Module):
    """Takes what transformers' layer takes; the rows that come in are changed in place."""

    def __init__(self, probed: ProbedLayer):
        super().__init__()
        layer: Any = probed.module
        attention, mlp = layer.self_attn, layer.mlp
        self.call = probed.call
        self.size = probed.shape.key_size
        self.key_heads = probed.shape.heads
        self.heads = attention.q_proj.out_features // self.size
        self.first_norm, self.second_norm = _RMSNorm(layer.input_layernorm), _RMSNorm(layer.post_attention_layernorm)
        self.head_norm = _head_norm(attention, self.heads, self.key_heads)
        self.qkv = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = attention.o_proj
        self.gate_up = _joined(mlp.gate_proj, mlp.up_proj)
        self.down = mlp.down_proj

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        foreword_step: AttentionStep,
        **_: Any,
    ) -> torch.Tensor:
        """[1, rows, width] → the same."""
        rows = hidden_states[0]
        cos, sin = (turn[0] for turn in position_embeddings)
        heads, size = self.heads + self.key_heads, self.size
        qkv = self.qkv(self.first_norm(rows))
        norm, eps = self.head_norm
        rotate(qkv, heads, size, cos, sin, norm, eps)
        query, keys, values = (
            part.view(len(rows), -1, size).transpose(0, 1)
            for part in qkv.split([self.heads * size, self.key_heads * size, self.key_heads * size], 1)
        )
        attended = foreword_step.run(self.call, query, keys, values).view(len(rows), -1)
        gate_up = self.gate_up(self.second_norm.after_adding(self.out(attended), rows))
        return hidden_states.add_(self.down(gate(gate_up)))


class _RMSNorm:
    """The numbers of a norm. Of which kind it is, the comparison of the whole layers shows."""

    def __init__(self, norm: Any):
        self.weight = norm.weight.detach()
        self.eps = float(norm.variance_epsilon)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return rms_norm(rows, self.weight, self.eps)

    def after_adding(self, added: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return add_rms_norm(rows, added, self.weight, self.eps)


def _head_norm(attention: Any, heads: int, key_heads: int) -> tuple[torch.Tensor | None, float]:
    """The norm of each query and key head [heads + key heads, size], if there is one."""
    if not hasattr(attention, "q_norm"):
        return None, 0.0
    parts = [attention.q_norm.weight.expand(heads, -1), attention.k_norm.weight.expand(key_heads, -1)]
    return torch.cat(parts).detach(), float(attention.q_norm.variance_epsilon)


def _joined(*layers: nn.Linear) -> nn.Linear:
    """One layer in place of several that read the same rows."""
    out = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), bias=False, device="meta")
    out.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    if layers[0].bias is not None:
        out.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    return out


@contextmanager
def watching_layers(model: nn.Module) -> Iterator[dict[int, tuple[nn.Module, dict[str, Any]]]]:
    """While a model runs: its layers of the common shape by their number, and the arguments that they are given."""
    seen: dict[int, tuple[nn.Module, dict[str, Any]]] = {}

    def note(module: nn.Module, _: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        seen[int(module.self_attn.layer_idx)] = module, arguments  # type: ignore[arg-type, union-attr]

    layers = [module for module in model.modules() if _parts(module) == LAYER_PARTS]
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def replace_layers(model: nn.Module, probed: list[ProbedLayer]) -> Iterator[DecoderLayer]:
    """Put ours in place of the layers that they can replace; gives each as it is put in.

    ``probed`` is empty in the end: a layer that has been replaced is let go before the next is made.
    """
    places = {
        id(child): (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if _parts(child) == LAYER_PARTS
    }
    while probed:
        layer = probed.pop()
        if not _fits(layer):
            continue
        ours = DecoderLayer(layer)
        if _agree(layer, ours):
            parent, name = places[id(layer.module)]
            setattr(parent, name, ours)
            del layer
            yield ours


def _parts(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


def _fits(probed: ProbedLayer) -> bool:
    """Whether the parts have the names and sizes that DecoderLayer and its kernels know."""
    layer: Any = probed.module
    attention, mlp, size = layer.self_attn, layer.mlp, probed.shape.key_size
    norms = _parts(attention) - ATTENTION_PARTS
    if not _parts(attention) >= ATTENTION_PARTS or norms not in (set(), HEAD_NORMS) or _parts(mlp) != MLP_PARTS:
        return False
    linear = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linear += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    if any(type(part) is not nn.Linear for part in linear):
        return False
    if any(tuple(getattr(attention, name).weight.shape) != (size,) for name in norms):
        return False
    cos, _ = probed.arguments.get("position_embeddings") or (torch.empty(0), None)
    widths = (attention.q_proj.in_features, mlp.down_proj.in_features, size)
    return cos.shape[-1] == size == probed.shape.value_size and all(width % LANES == 0 for width in widths)


@dataclass
class _Witness:
    """Stands in for an AttentionStep: notes what it is given, and answers what it is told."""

    answer: torch.Tensor
    given: list[torch.Tensor] = field(default_factory=list)

    def run(self, _: LayerCall, *tensors: torch.Tensor) -> torch.Tensor:
        self.given = [tensor.clone() for tensor in tensors]
        return self.answer


@torch.inference_mode()
def _agree(probed: ProbedLayer, ours: DecoderLayer) -> bool:
    """Whether both give the same queries, keys, values and rows, but for the order of summation."""
    random = torch.Generator().manual_seed(0)
    rows = probed.arguments["position_embeddings"][0].shape[1]
    hidden = torch.randn(1, rows, ours.qkv.in_features, generator=random)
    answer = torch.randn(rows, ours.heads, ours.size, generator=random)
    found = []
    for layer in (probed.module, ours):
        witness = _Witness(answer)
        out = layer(hidden.clone(), **{**probed.arguments, "foreword_step": witness})
        found.append([*witness.given, out])
    return all(
        one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
        for one, other in zip(*found, strict=True)
    )
