"""A decoder-only model of the common shape in plain torch: what a start builds where an earlier one found it to be the same.

transformers' modelling code takes longer to import than a small model takes to load. What it made of a model's files is
noted in a plan; a later start builds the model from that plan and the tensors, and compares what both compute, to the bit
(findings.py). Knows nothing of transformers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from foreword.backends.base import AttentionLayer, LayerCall, LayerShape, ProbedLayer, current_step
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.stored_modules import stored_embedding, stored_linear, wanted

LINEAR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
          "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
NORMS = ("input_layernorm", "post_attention_layernorm")
HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


@dataclass(frozen=True)
class PlainPlan:
    """What transformers made of a model's files, as far as its tensors do not say it.

    layers, embedding, norm, head
        Names of the modules, as tensors are named after them; a head that is the embedding has its name.
    attention
        Of each layer: scaling, window, soft cap, as LayerCall has them.
    eps
        Of each norm of a layer by its name there, and of the last one under ``norm``.
    inv_freq, turn_scaling
        Of the rotary positions: float32 frequencies, and what cosines and sines are multiplied by.
    """

    layers: str
    embedding: str
    norm: str
    head: str
    attention: tuple[tuple[float, int | None, float | None], ...]
    eps: dict[str, float]
    inv_freq: tuple[float, ...]
    turn_scaling: float

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "PlainPlan":
        """Of fields that went through JSON."""
        attention = tuple(tuple(each) for each in fields["attention"])
        return cls(**{**fields, "attention": attention, "inv_freq": tuple(fields["inv_freq"])})


@dataclass(frozen=True, slots=True)
class Logits:
    """What a model gives: float32 [1, rows that were kept, vocabulary]."""

    logits: torch.Tensor


class PlainModel(nn.Module):
    """Embedding, layers, norm and head, named as the plan says: linear layers go by the names of their tensors."""

    def __init__(self, plan: PlainPlan, embedding: nn.Module, layers: nn.ModuleList, norm: torch.Tensor, head: nn.Module):
        super().__init__()
        self._plan = plan
        self.final_norm = PlainNorm(norm, plan.eps["norm"])
        self._head_name = plan.head if plan.head != plan.embedding else "tied_head"
        for name, module in ((plan.embedding, embedding), (plan.layers, layers), (self._head_name, head)):
            self._place(name, module)
        self.register_buffer("inv_freq", torch.tensor(plan.inv_freq, dtype=torch.float32), persistent=False)

    def forward(
        self,
        *,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        logits_to_keep: int | torch.Tensor,
        **_: Any,
    ) -> Logits:
        """Ids and positions [1, rows] → the logits of the last rows, or of those whose numbers are given."""
        hidden = self.get_submodule(self._plan.embedding)(input_ids)
        angles = position_ids[..., None].float() * self.get_buffer("inv_freq")
        angles = torch.cat((angles, angles), -1)
        turns = angles.cos() * self._plan.turn_scaling, angles.sin() * self._plan.turn_scaling
        layers: Any = self.get_submodule(self._plan.layers)
        for layer in layers:
            hidden = layer(hidden, position_embeddings=turns)
        hidden = self.base_model(hidden)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return Logits(self.get_output_embeddings()(hidden[:, kept]))

    @property
    def base_model(self) -> nn.Module:
        """What gives all rows that the head chooses from, by the name that transformers' models have for it."""
        return self.final_norm

    def get_output_embeddings(self) -> nn.Module:
        """The head, by the name that transformers' models have for it."""
        return self.get_submodule(self._head_name)

    def _place(self, path: str, module: nn.Module) -> None:
        parent: nn.Module = self
        *above, name = path.split(".")
        for part in above:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(name, module)


class PlainNorm(nn.Module):
    """A norm's numbers, as decoder layers hold them."""

    def __init__(self, weight: torch.Tensor, eps: float):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.variance_epsilon = eps

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., width] → the same."""
        return rms_norm(rows, self.weight, self.variance_epsilon)


class PlainLayer(nn.Module):
    """A decoder layer, its parts named as Llama's are; attention is the step's."""

    input_layernorm: nn.Module
    post_attention_layernorm: nn.Module

    def __init__(self, index: int, attention: tuple[float, int | None, float | None]):
        super().__init__()
        self.layer_idx = index
        self._attention = attention
        self.self_attn: Any = nn.Module()
        self.mlp: Any = nn.Module()
        self.mlp.act_fn = nn.SiLU()

    def forward(
        self,
        hidden: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """[1, rows, width] → the same."""
        attention, mlp, size = self.self_attn, self.mlp, position_embeddings[0].shape[-1]
        normed = self.input_layernorm(hidden)
        query, keys, values = (
            part(normed)[0].view(hidden.shape[1], -1, size)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if "q_norm" in dict(attention.named_children()):
            query, keys = attention.q_norm(query), attention.k_norm(keys)
        query, keys = (_turn(part.transpose(0, 1), *position_embeddings) for part in (query, keys))
        call = LayerCall(self.layer_idx, *self._attention)
        attended = current_step().attend(call, query, keys, values.transpose(0, 1))
        hidden = hidden + attention.o_proj(attended.reshape(1, hidden.shape[1], -1))
        normed = self.post_attention_layernorm(hidden)
        out: torch.Tensor = hidden + mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed))
        return out


def rms_norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root mean square norm of the last dimension."""
    return weight * (rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps))


def _turn(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat((-second, first), -1) * sin


def plan_of(module: Any, probed: list[ProbedLayer]) -> PlainPlan | None:
    """The plan of a model that transformers has built and whose layers have been probed; None for one of another shape."""
    names = {child: name for name, child in module.named_modules()}
    try:
        base = getattr(module, module.base_model_prefix)
        first: Any = probed[0].module
        rotary = base.rotary_emb
        eps = {name: float(first.get_submodule(name).variance_epsilon) for name in NORMS}
        if hasattr(first.self_attn, "q_norm"):
            eps |= {name: float(first.get_submodule(name).variance_epsilon) for name in HEAD_NORMS}
        embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
        if head.bias is not None:
            return None
        return PlainPlan(
            layers=names[base.layers],
            embedding=names[embedding],
            norm=names[base.norm],
            head=names[embedding] if head.weight is embedding.weight else names[head],
            attention=tuple((call.scaling, call.window, call.softcap) for call in (each.attention.call for each in probed)),
            eps=eps | {"norm": float(base.norm.variance_epsilon)},
            inv_freq=tuple(rotary.inv_freq.tolist()),
            turn_scaling=float(rotary.attention_scaling),
        )
    except (AttributeError, KeyError):
        return None


def over_parts(plan: PlainPlan, module: Any) -> PlainModel:
    """The plain model over the parts of the one that the plan was made of, whose layers a backend has replaced."""
    layers, norm = module.get_submodule(plan.layers), module.get_submodule(plan.norm).weight
    return PlainModel(plan, module.get_input_embeddings(), layers, norm, module.get_output_embeddings())


@torch.inference_mode()
def build_plain(plan: PlainPlan, checkpoint: Checkpoint) -> PlainModel:
    """The model of a plan. Weights of linear layers and the embedding stay in the checkpoint's files and are read when they
    are asked for; all else is in float32. ModelError for a tensor that is not there."""
    layers = []
    for index, attention in enumerate(plan.attention):
        layer, place = PlainLayer(index, attention), f"{plan.layers}.{index}"
        for name in LINEAR:
            _put(layer, name, stored_linear(checkpoint, f"{place}.{name}"))
        for name, eps in plan.eps.items():
            if name != "norm":
                _put(layer, name, PlainNorm(wanted(checkpoint, f"{place}.{name}.weight").float(), eps))
        layers.append(layer)
    embedding = stored_embedding(checkpoint, f"{plan.embedding}.weight")
    norm = wanted(checkpoint, f"{plan.norm}.weight").float()
    head = _tied_head(checkpoint, plan) if plan.head == plan.embedding else stored_linear(checkpoint, plan.head)
    return PlainModel(plan, embedding, nn.ModuleList(layers), norm, head).eval()


def _tied_head(checkpoint: Checkpoint, plan: PlainPlan) -> nn.Linear:
    """The embedding as a head: with its weight, for no tensor has the head's own name."""
    weight = wanted(checkpoint, f"{plan.embedding}.weight").float()
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    head.weight = nn.Parameter(weight, requires_grad=False)
    return head


def probed_layers(plan: PlainPlan, module: PlainModel) -> list[ProbedLayer]:
    """The layers of a plain model, as a probe would find them."""
    size = 2 * len(plan.inv_freq)
    angles = (torch.arange(2)[None, :, None] + 5.0) * torch.tensor(plan.inv_freq)
    angles = torch.cat((angles, angles), -1)
    turns = angles.cos() * plan.turn_scaling, angles.sin() * plan.turn_scaling
    found = []
    for index, attention in enumerate(plan.attention):
        layer: Any = module.get_submodule(f"{plan.layers}.{index}")
        heads, key_heads = (part.out_features // size for part in (layer.self_attn.q_proj, layer.self_attn.k_proj))
        called = AttentionLayer(LayerCall(index, *attention), LayerShape(key_heads, size, size), heads)
        found.append(ProbedLayer(called, layer, {"position_embeddings": turns}, repeats=index > 0))
    return found


def _put(layer: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    layer.get_submodule(parent).add_module(name, module)
