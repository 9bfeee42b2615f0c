"""Decoder layers of the common shape, with our kernels for all that they do, and all of them in one program.

Llama, Mistral, Qwen2, Qwen3 and their like differ in little: a norm, attention with rotary positions, a norm, a gated
activation, each half added to what came in. transformers does that in some forty small operations a layer, and Python's way
from one to the next takes longer than the arithmetic in them. The layers of a model are replaced where their parts have the
names of that shape *and* each gives the same as ours on random rows; otherwise they stay as transformers wrote them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from foreword.backends.base import (
    ATTENTION,
    LINEAR,
    MODELLING,
    AttentionStep,
    LayerCall,
    ProbedLayer,
    StepObserver,
    current_step,
    running,
)
from foreword.backends.cpu.attention.tiled import TiledAttention, TiledLayers
from foreword.backends.cpu.kernels import elementwise as kernels
from foreword.backends.cpu.kernels.attention import ATTEND
from foreword.backends.cpu.kernels.compiler import Call, addresses
from foreword.backends.cpu.kernels.ir_builder import LANES
from foreword.backends.cpu.kernels.kv_layout import store
from foreword.backends.cpu.kernels.program import Program
from foreword.backends.cpu.kernels.softmax import MERGE
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kv_memory import PanelMemory
from foreword.backends.cpu.packed_linear import LinearPacker, LinearStack

LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}
MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
TOLERANCE = 1e-5
"""Largest difference of two ways of computing the same in float32, relative to the largest number."""
MANY_ROWS = 64
"""From so many on a program is run layer by layer, for an interrupt waits until a call is done."""


ATTENDS = {ATTEND.name, MERGE.name}
"""Kernels whose calls depend on what rows attend to."""
Linear = Callable[..., nn.Module]
"""Makes one layer of one or several nn.Linear that read the same rows."""


class DecoderLayer(nn.Module):
    """Takes what transformers' layer takes; the rows that come in are changed in place."""

    def __init__(self, probed: ProbedLayer, linear: Linear, target: Target):
        super().__init__()
        self.target = target
        layer: Any = probed.module
        attention, mlp, shape = layer.self_attn, layer.mlp, probed.attention.shape
        self.call = probed.attention.call
        self.size, self.key_heads = shape.key_size, shape.heads
        self.heads = attention.q_proj.out_features // self.size
        self.first_norm, self.second_norm = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self.head_norm = _head_norm(attention, self.heads, self.key_heads)
        self.qkv: Any = linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out: Any = linear(attention.o_proj)
        self.gate_up: Any = linear(mlp.gate_proj, mlp.up_proj)
        self.down: Any = linear(mlp.down_proj)

    @property
    def sizes(self) -> tuple[Any, ...]:
        """What is the same in all layers of a stack."""
        norms = self.first_norm[1], self.second_norm[1], self.head_norm[0] is None, self.head_norm[1]
        biases = [part.bias is None for part in (self.qkv, self.out, self.gate_up, self.down)]
        return (self.heads, self.key_heads, self.size, *norms, *biases)

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """[1, rows, width] → the same. A stack does this for all layers in one program."""
        rows = hidden_states[0]
        cos, sin = (turn[0] for turn in position_embeddings)
        normed, size, target = torch.empty_like(rows), self.size, self.target
        kernels.rms_norm(target, rows, *self.first_norm, normed).run()
        qkv = self.qkv(normed)
        kernels.rotate(target, qkv, self.heads + self.key_heads, size, cos, sin, *self.head_norm).run()
        query, keys, values = (
            part.view(len(rows), -1, size).transpose(0, 1)
            for part in qkv.split([self.heads * size, self.key_heads * size, self.key_heads * size], 1)
        )
        attended = current_step().attend(self.call, query, keys, values).view(len(rows), -1)
        kernels.add_rms_norm(target, rows, self.out(attended), *self.second_norm, normed).run()
        gate_up = self.gate_up(normed)
        gated = gate_up.new_empty(len(rows), gate_up.shape[1] // 2)
        kernels.gate(target, gate_up, gated).run()
        kernels.add(target, rows, self.down(gated)).run()
        return hidden_states


class DecoderStack(nn.Module):
    """All layers of a model, in the place of the first; they have the same sizes."""

    def __init__(self, layers: Sequence[DecoderLayer], formats: Sequence[tuple[str, ...]], attention: TiledAttention):
        """Of layers whose linear layers are packed, and what each is packed in."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._target = layers[0].target
        self._groups = []
        for kind in dict.fromkeys(formats):
            numbers = [number for number, format in enumerate(formats) if format == kind]
            self._groups.append(_Group(numbers, [layers[number] for number in numbers], attention))
        self._last: _Work | None = None

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """[1, rows, width] → the same: what the layers give one after another, and the same bits. Padding stays as it is."""
        step: Any = current_step()
        rows = hidden_states[0, : len(step.slots)]  # without the padding
        turns = [turn[0, : len(rows)] for turn in position_embeddings]
        work, self._last = self._last, None  # another thread meanwhile makes one of its own
        if work is None or not work.begin_again(rows, turns, step):
            work = _Work(self._target, self._groups, rows, turns, step)
        if step.observer is not None:
            _run_observed(work.program, work.parts, step.observer)
        elif len(rows) < MANY_ROWS:
            work.program.run()
        else:
            for first, last in itertools.pairwise(work.program.begins):
                work.program.run(first, last)
        rows.copy_(work.places.rows)
        self._last = work if len(rows) < MANY_ROWS else None
        return hidden_states


class _Work:
    """A step of so many rows, written down for all layers; the next step of as many is the same but for attention."""

    def __init__(
        self,
        target: Target,
        groups: "Sequence[_Group]",
        rows: torch.Tensor,
        turns: Sequence[torch.Tensor],
        step: AttentionStep[PanelMemory],
    ):
        self._groups, self._memory = groups, step.memory
        self._layers = [group.tiled(step.memory) for group in groups]
        self.places = _Places(rows, turns, step.slots, groups[0].layer)
        made = [group.calls(self.places, layers, step) for group, layers in zip(groups, self._layers, strict=True)]
        calls = [(group.numbers, [call for _, call in calls]) for group, calls in zip(groups, made, strict=True)]
        self.program = Program(target, calls)
        self._attends = [[place for place, (_, call) in enumerate(calls) if call.name in ATTENDS] for calls in made]
        parts = {number: calls for group, calls in zip(groups, made, strict=True) for number in group.numbers}
        self.parts = [part for number in sorted(parts) for part, _ in parts[number]]
        """Of the step, to which each of the program's calls belongs."""

    def begin_again(self, rows: torch.Tensor, turns: Sequence[torch.Tensor], step: AttentionStep[PanelMemory]) -> bool:
        """Make it that of another step; False if that is another in more than its rows' numbers and what they attend to."""
        places = self.places
        if rows.shape != places.rows.shape or step.memory is not self._memory:
            return False
        places.take(rows, turns, step.slots)
        made = [group.attend(places, layers, step) for group, layers in zip(self._groups, self._layers, strict=True)]
        if any(len(calls) != len(attends) for calls, attends in zip(made, self._attends, strict=True)):
            return False
        self.program.again([(attends[0], calls) for calls, attends in zip(made, self._attends, strict=True)])
        return True


class _Places:
    """Where a step's layers find and put what they compute, one after another: each is [rows, its width]."""

    def __init__(self, rows: torch.Tensor, turns: Sequence[torch.Tensor], slots: torch.Tensor, layer: Any):
        count, heads, size = len(rows), layer.heads, layer.size
        self.rows, self.slots = rows.clone(), slots.clone()
        self.cos, self.sin = (turn.contiguous().clone() for turn in turns)
        self.normed, self.added = torch.empty_like(rows), torch.empty_like(rows)
        self.qkv = rows.new_empty(count, (heads + 2 * layer.key_heads) * size)
        self.query = self.qkv[:, : heads * size].view(count, heads, size).transpose(0, 1)
        self.attended = rows.new_empty(count, heads, size)
        self.gate_up = rows.new_empty(count, layer.gate_up.out_features)
        self.gated = rows.new_empty(count, layer.down.in_features)

    def take(self, rows: torch.Tensor, turns: Sequence[torch.Tensor], slots: torch.Tensor) -> None:
        """What another step begins with."""
        for place, given in zip((self.rows, self.cos, self.sin, self.slots), (rows, *turns, slots), strict=True):
            place.copy_(given)


class _Group:
    """Layers of a stack whose linear layers are packed in the same formats."""

    def __init__(self, numbers: list[int], layers: list[DecoderLayer], attention: TiledAttention):
        """``numbers``: of the layers in the stack."""
        self.numbers = numbers
        self.layer, self._target, self._attention = layers[0], layers[0].target, attention
        self._layer_calls = [layer.call for layer in layers]
        self._first_norms = addresses(layer.first_norm[0] for layer in layers)
        self._second_norms = addresses(layer.second_norm[0] for layer in layers)
        head_norms = [layer.head_norm[0] for layer in layers if layer.head_norm[0] is not None]
        self._head_norms = addresses(head_norms) if head_norms else None
        self._qkv = LinearStack(self._target, [layer.qkv for layer in layers])
        self._out = LinearStack(self._target, [layer.out for layer in layers])
        self._gate_up = LinearStack(self._target, [layer.gate_up for layer in layers])
        self._down = LinearStack(self._target, [layer.down for layer in layers])

    def tiled(self, memory: PanelMemory) -> TiledLayers:
        """What attention is told of the layers."""
        return TiledLayers(memory, self._layer_calls)

    def attend(self, at: _Places, layers: TiledLayers, step: AttentionStep[PanelMemory]) -> list[Call]:
        """The calls that depend on what the step's rows attend to."""
        return self._attention.calls(step.prepared, layers, at.query, at.attended)

    def calls(self, at: _Places, layers: TiledLayers, step: AttentionStep[PanelMemory]) -> list[tuple[str, Call]]:
        """DecoderLayer.forward, as the calls of kernels that it comes to, and the parts of a step that they belong to."""
        layer, target, rows = self.layer, self._target, at.rows
        heads = layer.heads + layer.key_heads
        attended = at.attended.view(len(rows), -1)
        turn = kernels.rotate(target, at.qkv, heads, layer.size, at.cos, at.sin, self._head_norms, layer.head_norm[1])
        second = self._second_norms, layer.second_norm[1]
        return [
            (MODELLING, kernels.rms_norm(target, rows, self._first_norms, layer.first_norm[1], at.normed)),
            *((LINEAR, call) for call in self._qkv.calls(at.normed, at.qkv)),
            (MODELLING, turn),
            (ATTENTION, self._store(at, step.memory)),
            *((ATTENTION, call) for call in self.attend(at, layers, step)),
            *((LINEAR, call) for call in self._out.calls(attended, at.added)),
            (MODELLING, kernels.add_rms_norm(target, rows, at.added, *second, at.normed)),
            *((LINEAR, call) for call in self._gate_up.calls(at.normed, at.gate_up)),
            (MODELLING, kernels.gate(target, at.gate_up, at.gated)),
            *((LINEAR, call) for call in self._down.calls(at.gated, at.added)),
            (MODELLING, kernels.add(target, rows, at.added)),
        ]

    def _store(self, at: _Places, memory: PanelMemory) -> Call:
        layer, qkv, numbers = self.layer, at.qkv, [call.layer for call in self._layer_calls]
        parts = qkv[:, layer.heads * layer.size :].view(len(qkv), 2, layer.key_heads, layer.size)
        layers = [[part[number] for number in numbers] for part in (memory.keys, memory.values)]
        like, into = [part[0] for part in layers], [addresses(part) for part in layers]
        keys, values = parts.permute(1, 2, 0, 3)
        return store(self._target, keys, values, at.slots, (like[0], like[1]), (into[0], into[1]))


def _run_observed(program: Program, parts: Sequence[str], observer: StepObserver) -> None:
    """The calls of a program one by one, each for its part."""
    for index, part in enumerate(parts):
        observer.begin(part)
        program.run(index, index + 1)
        observer.end()


def _norm(norm: Any) -> tuple[torch.Tensor, float]:
    """A norm's numbers. Of which kind it is, the comparison of the whole layers shows."""
    return norm.weight.detach(), float(norm.variance_epsilon)


def _head_norm(attention: Any, heads: int, key_heads: int) -> tuple[torch.Tensor | None, float]:
    """The norm of each query and key head [heads + key heads, size], if there is one."""
    if not hasattr(attention, "q_norm"):
        return None, 0.0
    parts = [attention.q_norm.weight.expand(heads, -1), attention.k_norm.weight.expand(key_heads, -1)]
    return torch.cat(parts).detach(), float(attention.q_norm.variance_epsilon)


class _Beside(nn.Module):
    """Several layers that read the same rows, as one: for the comparison, where their weights need not be copied."""

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.in_features, self.bias = layers[0].in_features, layers[0].bias

    @classmethod
    def of(cls, *layers: nn.Linear) -> nn.Module:
        """One layer in place of one or several."""
        return layers[0] if len(layers) == 1 else cls(layers)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., all out_features]."""
        return torch.cat([layer(rows) for layer in self.layers], -1)


def replace_layers(
    model: nn.Module, probed: list[ProbedLayer], packer: LinearPacker, attention: TiledAttention
) -> Iterator[DecoderLayer]:
    """Put one DecoderStack in place of all layers, if ours give the same; gives each of ours, packed.

    ``probed`` is empty in the end: a layer is let go when ours has its weights, so that few are in memory twice.
    """
    modules = [layer.module for layer in probed]
    places = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and list(child) == modules
    ]
    if len(places) != 1 or not all(_fits(layer, packer) for layer in probed):
        return
    sizes = set()
    for layer in probed:
        ours = DecoderLayer(layer, _Beside.of, packer.target)
        sizes.add(ours.sizes)
        if len(sizes) > 1 or not (layer.repeats or _agree(layer, ours)):
            return
    parent, name = places[0]
    setattr(parent, name, nn.ModuleList())
    modules.clear()
    layers, formats = [], [_formats(layer, packer) for layer in probed]
    while probed:
        layers.append(DecoderLayer(probed.pop(0), packer.pack_beside, packer.target))
        yield layers[-1]
    setattr(parent, name, nn.ModuleList([DecoderStack(layers, formats, attention)]))


def _parts(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


def _fits(probed: ProbedLayer, packer: LinearPacker) -> bool:
    """Whether the parts have the names and sizes that DecoderLayer and its kernels know."""
    layer: Any = probed.module
    if _parts(layer) != LAYER_PARTS:
        return False
    attention, mlp, shape = layer.self_attn, layer.mlp, probed.attention.shape
    size = shape.key_size
    norms = _parts(attention) - ATTENTION_PARTS
    if not _parts(attention) >= ATTENTION_PARTS or norms not in (set(), HEAD_NORMS) or _parts(mlp) != MLP_PARTS:
        return False
    linear = _linear_places(layer)
    if any(type(part) is not nn.Linear for place in linear for part in place):
        return False
    if not all(packer.fit_beside(place) for place in linear):
        return False
    if any(tuple(getattr(attention, name).weight.shape) != (size,) for name in norms):
        return False
    if not all(hasattr(norm, "variance_epsilon") for norm in (layer.input_layernorm, layer.post_attention_layernorm)):
        return False  # a norm of another kind, as Gemma 1's
    cos, _ = probed.arguments.get("position_embeddings") or (torch.empty(0), None)
    widths = (attention.q_proj.in_features, mlp.down_proj.in_features, size)
    return cos.shape[-1] == size == shape.value_size and all(width % LANES == 0 for width in widths)


def _linear_places(layer: Any) -> list[list[nn.Linear]]:
    """The linear layers of a decoder layer, those together that read the same rows."""
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return [qkv, [attention.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]


def _formats(probed: ProbedLayer, packer: LinearPacker) -> tuple[str, ...]:
    """What a layer's weights will be packed in."""
    return tuple(packer.format_of(layer).name for place in _linear_places(probed.module) for layer in place)


@dataclass
class _Witness:
    """A LayerStep of one layer, without memory: notes what it is given, and answers what it is told."""

    answer: torch.Tensor
    given: list[torch.Tensor] = field(default_factory=list)

    def attend(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """See LayerStep."""
        self.given = [tensor.clone() for tensor in (query, keys, values)]
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
        with running(witness):
            out = layer(hidden.clone(), **probed.arguments)
        found.append([*witness.given, out])
    return all(
        one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
        for one, other in zip(*found, strict=True)
    )
