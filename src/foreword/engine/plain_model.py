"""A decoder-only model of a common shape in plain torch: what a start builds where its file says all, or an earlier start
found it to be the same. Families differ by a table (plain_families.py).

transformers' modelling code takes longer to import than a small model takes to load. What it made of a model's files is
noted in a plan; a later start builds the model from that plan and the tensors, and compares what both compute, to the bit
(findings.py). Knows nothing of transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from foreword.backends.base import AttentionLayer, LayerCall, LayerShape, ProbedLayer, current_step
from foreword.backends.whole_vectors import in_whole_vectors
from foreword.engine.plain_families import PLAIN_FAMILIES, PlainFamily
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.stored_modules import stored_embedding, stored_linear, wanted

USUAL, LOCAL, NONE = 0, 1, -1
"""Which rotary positions a layer has."""


@dataclass(frozen=True)
class PlainPlan:
    """What transformers made of a model's files, as far as its tensors do not say it.

    layers, embedding, norm, head
        Names of the modules, as tensors are named after them; a head that is the embedding has its name.
    attention
        Of each layer: scaling, window, soft cap, as LayerCall has them.
    heads
        Of each layer: query heads, key heads, and the size of each.
    eps
        Of each norm of a layer by its name there, and of the last one under ``norm``.
    inv_freq, turn_scaling
        Of the rotary positions: float32 frequencies, and what cosines and sines are multiplied by.
    family
        A name of PLAIN_FAMILIES.
    local_inv_freq
        Frequencies of layers that have others.
    turns
        Of each layer: which positions it has, LOCAL ones or NONE; empty: all have the usual ones.
    residual_scale, logit_scale, logit_softcap, embedding_scale
        What each half of a layer is multiplied by before it is added, and logits; what these are squashed to; and what
        rows of the embedding are multiplied by.
    """

    layers: str
    embedding: str
    norm: str
    head: str
    attention: tuple[tuple[float, int | None, float | None], ...]
    heads: tuple[int, int, int]
    eps: dict[str, float]
    inv_freq: tuple[float, ...]
    turn_scaling: float
    family: str = "llama"
    local_inv_freq: tuple[float, ...] = ()
    turns: tuple[int, ...] = ()
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    embedding_scale: float = 1.0

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "PlainPlan":
        """Of fields that went through JSON."""
        attention = tuple(tuple(each) for each in fields["attention"])
        tuples = {name: tuple(fields[name]) for name in ("heads", "inv_freq", "local_inv_freq", "turns")}
        return cls(**{**fields, **tuples, "attention": attention})

    def positions(self, layer: int) -> int:
        """Which positions a layer has: USUAL, LOCAL or NONE."""
        return self.turns[layer] if self.turns else USUAL


@dataclass(frozen=True, slots=True)
class Logits:
    """What a model gives: float32 [1, rows that were kept, vocabulary]."""

    logits: torch.Tensor


class PlainModel(nn.Module):
    """Embedding, layers, norm and head, named as the plan says: linear layers go by the names of their tensors."""

    computes_whole_vectors = True
    """See forward.py: what it calls of torch's functions it calls so by itself."""

    def __init__(self, plan: PlainPlan, embedding: nn.Module, layers: nn.ModuleList, norm: torch.Tensor, head: nn.Module):
        super().__init__()
        self._plan = plan
        self.final_norm = PlainNorm(norm, plan.eps["norm"])
        self._head_name = plan.head if plan.head != plan.embedding else "tied_head"
        for name, module in ((plan.embedding, embedding), (plan.layers, layers), (self._head_name, head)):
            self._place(name, module)
        for name, numbers in (("inv_freq", plan.inv_freq), ("local_inv_freq", plan.local_inv_freq)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32), persistent=False)

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
        plan = self._plan
        turns = [_turns(position_ids, self.get_buffer("inv_freq"), plan.turn_scaling)]
        if plan.local_inv_freq:
            turns.append(_turns(position_ids, self.get_buffer("local_inv_freq"), plan.turn_scaling))
        layers: Any = self.get_submodule(plan.layers)
        for number, layer in enumerate(layers):
            hidden = layer(hidden, position_embeddings=turns[max(USUAL, plan.positions(number))])
        hidden = self.base_model(hidden)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.get_output_embeddings()(hidden[:, kept])
        if plan.logit_scale != 1.0:
            logits = logits * plan.logit_scale
        if plan.logit_softcap is not None:
            logits = in_whole_vectors(torch.tanh, logits / plan.logit_softcap) * plan.logit_softcap
        return Logits(logits)

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
    """A decoder layer of a plan's family, its parts named as transformers names them; attention is the step's."""

    def __init__(self, index: int, plan: PlainPlan):
        super().__init__()
        self.layer_idx = index
        self._call = LayerCall(index, *plan.attention[index])
        self._family = PLAIN_FAMILIES[plan.family]
        self._heads, self._key_heads, self._size = plan.heads
        self._turned = plan.positions(index) != NONE
        self._scale = plan.residual_scale
        self.self_attn: Any = nn.Module()
        self.mlp: Any = nn.Module()
        self.mlp.act_fn = nn.SiLU() if self._family.gate == "silu" else nn.GELU(approximate="tanh")

    def forward(
        self,
        hidden: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """[1, rows, width] → the same."""
        for before, behind, part in zip(self._family.before, self._family.behind, (self._attend, self._gated), strict=True):
            out = self._normed(behind, part(self._normed(before, hidden), position_embeddings))
            hidden = hidden + (out if self._scale == 1.0 else out * self._scale)
        return hidden

    def _attend(self, rows: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        attention, together = self.self_attn, self._family.head_norms == "all"
        query, keys, values = self._qkv(rows[0])
        if together:
            query, keys = attention.q_norm(query), attention.k_norm(keys)
        query, keys, values = (part.view(len(part), -1, self._size) for part in (query, keys, values))
        if self._family.head_norms == "each":
            query, keys = attention.q_norm(query), attention.k_norm(keys)
        query, keys, values = (part.transpose(0, 1) for part in (query, keys, values))
        if self._turned:
            query, keys = (_turn(part, *turns) for part in (query, keys))
        attended = current_step().attend(self._call, query, keys, values)
        out: torch.Tensor = attention.o_proj(attended.reshape(1, rows.shape[1], -1))
        return out

    def _qkv(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Of rows [rows, width]: each [rows, its width]."""
        attention = self.self_attn
        if not self._family.joined:
            return [part(rows) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
        widths = [self._size * heads for heads in (self._heads, self._key_heads, self._key_heads)]
        found: Sequence[torch.Tensor] = attention.qkv_proj(rows).split(widths, -1)
        return found

    def _gated(self, rows: torch.Tensor, _: object) -> torch.Tensor:
        mlp = self.mlp
        if self._family.joined:
            gate, up = mlp.gate_up_proj(rows).chunk(2, -1)
        else:
            gate, up = mlp.gate_proj(rows), mlp.up_proj(rows)
        out: torch.Tensor = mlp.down_proj(in_whole_vectors(mlp.act_fn, gate) * up)
        return out

    def _normed(self, name: str | None, rows: torch.Tensor) -> torch.Tensor:
        if name is None:
            return rows
        out: torch.Tensor = self.get_submodule(name)(rows)
        return out


def rms_norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root mean square norm of the last dimension."""
    return weight * (rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps))


def _turns(positions: torch.Tensor, inv_freq: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of positions [1, rows] → [1, rows, numbers that turn]."""
    angles = positions[..., None].float() * inv_freq
    angles = torch.cat((angles, angles), -1)
    return in_whole_vectors(torch.cos, angles) * scaling, in_whole_vectors(torch.sin, angles) * scaling


def _turn(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The first numbers of each head turn, as many as there are cosines; the others stay."""
    turned, rest = heads[..., : cos.shape[-1]], heads[..., cos.shape[-1] :]
    first, second = turned.chunk(2, -1)
    out = turned * cos + torch.cat((-second, first), -1) * sin
    return torch.cat((out, rest), -1) if rest.shape[-1] else out


def plan_of(module: Any, probed: list[ProbedLayer]) -> PlainPlan | None:
    """The plan of a model that transformers has built and whose layers have been probed; None for one of another shape."""
    names = {child: name for name, child in module.named_modules()}
    try:
        base = getattr(module, module.base_model_prefix)
        first: Any = probed[0].module
        rotary = base.rotary_emb
        family = "qwen3" if hasattr(first.self_attn, "q_norm") else "llama"
        eps = {name: float(first.get_submodule(name).variance_epsilon) for name in PLAIN_FAMILIES[family].norms}
        embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
        if head.bias is not None:
            return None
        return PlainPlan(
            layers=names[base.layers],
            embedding=names[embedding],
            norm=names[base.norm],
            head=names[embedding] if head.weight is embedding.weight else names[head],
            attention=tuple((call.scaling, call.window, call.softcap) for call in (each.attention.call for each in probed)),
            heads=(probed[0].attention.query_heads, probed[0].attention.shape.heads, probed[0].attention.shape.key_size),
            eps=eps | {"norm": float(base.norm.variance_epsilon)},
            inv_freq=tuple(rotary.inv_freq.tolist()),
            turn_scaling=float(rotary.attention_scaling),
            family=family,
        )
    except (AttributeError, KeyError):
        return None


def over_parts(plan: PlainPlan, module: Any) -> PlainModel:
    """The plain model over the parts of the one that the plan was made of, whose layers a backend has replaced."""
    layers, norm = module.get_submodule(plan.layers), module.get_submodule(plan.norm).weight
    plain = PlainModel(plan, module.get_input_embeddings(), layers, norm, module.get_output_embeddings())
    plain.computes_whole_vectors = False  # layers that no backend has replaced are transformers'
    return plain


@torch.inference_mode()
def build_plain(plan: PlainPlan, checkpoint: Checkpoint) -> PlainModel:
    """The model of a plan. Weights of linear layers and the embedding stay in the checkpoint's files and are read when they
    are asked for; all else is in float32. ModelError for a tensor that is not there."""
    layers, family = [], PLAIN_FAMILIES[plan.family]
    for index in range(len(plan.attention)):
        layer, place = PlainLayer(index, plan), f"{plan.layers}.{index}"
        for name in family.linear:
            _put(layer, name, stored_linear(checkpoint, f"{place}.{name}"))
        for name in family.norms:
            _put(layer, name, PlainNorm(_norm(checkpoint, f"{place}.{name}", family), plan.eps[name]))
        layers.append(layer)
    embedding = stored_embedding(checkpoint, f"{plan.embedding}.weight", plan.embedding_scale)
    norm = _norm(checkpoint, plan.norm, family)
    head = _tied_head(checkpoint, plan) if plan.head == plan.embedding else stored_linear(checkpoint, plan.head)
    return PlainModel(plan, embedding, nn.ModuleList(layers), norm, head).eval()


def _norm(checkpoint: Checkpoint, name: str, family: PlainFamily) -> torch.Tensor:
    """The weights of a norm."""
    weight = wanted(checkpoint, f"{name}.weight").float()
    return weight + family.norm_offset if family.norm_offset else weight


def _tied_head(checkpoint: Checkpoint, plan: PlainPlan) -> nn.Linear:
    """The embedding as a head: with its weight, for no tensor has the head's own name."""
    weight = wanted(checkpoint, f"{plan.embedding}.weight").float()
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    head.weight = nn.Parameter(weight, requires_grad=False)
    return head


def probed_layers(plan: PlainPlan, module: PlainModel) -> list[ProbedLayer]:
    """The layers of a plain model, as a probe would find them."""
    heads, key_heads, size = plan.heads
    turns = _turns(torch.tensor([[5, 6]]), torch.tensor(plan.inv_freq), plan.turn_scaling)
    found = []
    for index, attention in enumerate(plan.attention):
        called = AttentionLayer(LayerCall(index, *attention), LayerShape(key_heads, size, size), heads)
        alike = index > 0 and plan.positions(index) == plan.positions(index - 1)
        layer = module.get_submodule(f"{plan.layers}.{index}")
        found.append(ProbedLayer(called, layer, {"position_embeddings": turns}, repeats=alike))
    return found


def _put(layer: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    layer.get_submodule(parent).add_module(name, module)
