"""The model: a small Qwen3 decoder from transformers, with a training-only attention and training-only helpers."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from batches import IGNORE, Batch

MAX_ROWS = 16
MAX_COLUMNS = 12
# Of what is learned next to the cells themselves (the beginning of the answer, the end, stretches of random tokens).
EASY_WEIGHT = 0.25


def make_config(vocabulary: int, end: int, *, layers: int, width: int, head: int, theta: float) -> Qwen3Config:
    """The shape of the model."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 4 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // head,
        num_key_value_heads=width // head,
        head_dim=head,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=True,
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
    )


Shares = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _normalised(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, eps=1e-6)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def _before_attention(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layer: Qwen3DecoderLayer
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values: (tables, positions, heads, head size)."""
    attention = layer.self_attn
    shape = (*x.shape[:2], -1, attention.head_dim)
    x = _normalised(x, layer.input_layernorm.weight)
    query = _rotated(_normalised(attention.q_proj(x).view(shape), attention.q_norm.weight), cos, sin)
    key = _rotated(_normalised(attention.k_proj(x).view(shape), attention.k_norm.weight), cos, sin)
    return query, key, attention.v_proj(x).view(shape)


def _after_attention(x: torch.Tensor, attended: torch.Tensor, layer: Qwen3DecoderLayer) -> torch.Tensor:
    x = x + layer.self_attn.o_proj(attended)
    y = _normalised(x, layer.post_attention_layernorm.weight)
    result: torch.Tensor = x + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(y)) * layer.mlp.up_proj(y))
    return result


def _shares(to_table: torch.Tensor, to_own: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax over two groups of scores together; ``hidden``: (tables, table_size), what is padding.

    Scores: (tables, heads, branches, branch_size, table_size or branch_size).
    """
    later = torch.ones(to_own.shape[-2:], dtype=torch.bool).triu(1)
    to_table = to_table.masked_fill(hidden[:, None, None, None, :], -1e9)
    to_own = to_own.masked_fill(later, -1e9)
    top = torch.maximum(to_table.amax(-1, keepdim=True), to_own.amax(-1, keepdim=True)).detach()
    to_table, to_own = (to_table - top).exp(), (to_own - top).exp()
    total = to_table.sum(-1, keepdim=True) + to_own.sum(-1, keepdim=True)
    return to_table / total, to_own / total


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, batch: Batch, shares: Shares
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention in which each branch sees its table and itself.

    Returns the result, (tables, positions, width), and how the branches attend to the table.
    """
    tables, length, heads, head = query.shape
    size, count, branch = batch.table_size, batch.branches, batch.branch_size
    parts = [torch.split(x.transpose(1, 2), [size, length - size], dim=2) for x in (query, key, value)]
    table_out = F.scaled_dot_product_attention(parts[0][0], parts[1][0], parts[2][0], is_causal=True)
    table_key, table_value = parts[1][0].contiguous(), parts[2][0].contiguous()
    flat = (parts[0][1] * head**-0.5).contiguous()
    own = (tables, heads, count, branch, head)
    to_table = (flat @ table_key.transpose(-1, -2)).view(*own[:4], size)
    to_own = flat.view(own) @ parts[1][1].reshape(own).transpose(-1, -2)
    table_share, own_share = shares(to_table, to_own, batch.padding)
    out = table_share.view(tables, heads, count * branch, size) @ table_value
    out = out.view(own) + own_share @ parts[2][1].reshape(own)
    both = torch.cat((table_out, out.view(tables, heads, count * branch, head)), dim=2)
    return both.transpose(1, 2).flatten(2), table_share


def _table_share(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """How one head attends within the table; query, key: (tables, table_size, head size)."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    share: torch.Tensor = scores.masked_fill(later, -torch.inf).softmax(-1)
    return share


def _pointing(share: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean negative logarithm of what a head gives to the right position of the table; 0 if nothing is asked.

    share: (tables, ..., table_size), targets: (tables, the product of the middle sizes).
    """
    asked = targets.reshape(-1) != IGNORE
    chosen = share.reshape(-1, share.shape[-1])[asked].gather(1, targets.reshape(-1)[asked][:, None])
    return -chosen.clamp_min(1e-30).log().sum() / max(1, len(chosen))


def _spreading(share: torch.Tensor, rows: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """How far a head is from attending evenly to the marks of a token's own row, up to the token.

    share: (tables, table_size, table_size); rows, marks: (tables, table_size).
    """
    wanted = (rows[:, :, None] == rows[:, None, :]) & marks[:, None, :] & (rows[:, :, None] != IGNORE)
    wanted = wanted.tril()
    return -share[wanted].clamp_min(1e-30).log().sum() / wanted.sum().clamp_min(1)


class Reader(nn.Module):
    """The model in training, with linear probes that ask inner layers for the row and the column of each token.

    The probes make the layers find the structure of the table early; they are thrown away after training. Tokens of the
    table are asked for the row after ``table_probe`` layers and for the column after two layers more, tokens of the
    branches for both after ``branch_probe`` layers.

    Some heads are told where to attend:
    - in the layer that follows ``table_probe``, the first from a name or a header in a branch to the same one in the
      table; the second and the third from each token of a row to the marks that close its first and its second cell, so
      that it knows its row by what stands there; the fourth from each token of a name in a branch to the one after it in
      the table, so that the end of the name finds the mark that closes it;
    - in the next layer, the second evenly to all marks of a token's own row, which counts its column;
    - in the layer that follows ``branch_probe``, the first from each token of an answer to the token that comes next.
    """

    def __init__(self, config: Qwen3Config, table_probe: int, branch_probe: int, compiled: bool = True) -> None:
        super().__init__()
        self.model = Qwen3ForCausalLM(config)
        self._before = torch.compile(_before_attention, dynamic=True) if compiled else _before_attention
        self._shares = torch.compile(_shares, dynamic=True) if compiled else _shares
        self._after = torch.compile(_after_attention, dynamic=True) if compiled else _after_attention
        self.table_probe = table_probe
        self.branch_probe = branch_probe
        self.row_probe = nn.Linear(config.hidden_size, MAX_ROWS)
        self.column_probe = nn.Linear(config.hidden_size, MAX_COLUMNS)
        self.branch_row_probe = nn.Linear(config.hidden_size, MAX_ROWS)
        self.branch_column_probe = nn.Linear(config.hidden_size, MAX_COLUMNS)
        nn.init.normal_(self.model.model.embed_tokens.weight, std=0.05)
        for layer in self.model.model.layers:
            nn.init.constant_(layer.self_attn.q_norm.weight, 1.6)
            nn.init.constant_(layer.self_attn.k_norm.weight, 1.6)
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def hidden_states(self, batch: Batch) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """The input of each layer, then the normalised output of the last: what transformers computes.

        Also how far the pointing heads are from where they should point.
        """
        model = self.model.model
        x = model.embed_tokens(batch.ids)
        cos, sin = (t[:, :, None] for t in model.rotary_emb(x, batch.positions))
        states, losses, size = [x], {}, batch.table_size
        for index, layer in enumerate(model.layers):
            query, key, value = self._before(x, cos, sin, layer)
            attended, share = _attention(query, key, value, batch, self._shares)
            if index == self.table_probe:
                mentions = batch.mentions[:, size:]
                losses["pointer_mention"] = _pointing(share[:, 0], mentions)
                named = batch.rows[:, :size].gather(1, mentions.clamp_min(0)) > 0
                losses["pointer_next"] = _pointing(share[:, 3], torch.where(named, mentions + 1, IGNORE))
                for head, marks in ((1, batch.first_marks), (2, batch.second_marks)):
                    inside = _table_share(query[:, :size, head], key[:, :size, head])
                    losses[f"pointer_mark{head}"] = _pointing(inside, marks[:, :size])
            if index == self.table_probe + 1:
                inside = _table_share(query[:, :size, 1], key[:, :size, 1])
                losses["pointer_row"] = _spreading(inside, batch.rows[:, :size], batch.marks[:, :size])
            if index == self.branch_probe:
                losses["pointer_copy"] = _pointing(share[:, 0], batch.copies[:, size:])
            x = self._after(x, attended, layer)
            states.append(x)
        states[-1] = _normalised(x, model.norm.weight)
        return states, losses

    def _probe_losses(self, states: list[torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        table, branches = slice(0, batch.table_size), slice(batch.table_size, None)
        losses = {}
        for name, layer, part, probe, labels in (
            ("table_row", self.table_probe, table, self.row_probe, batch.rows),
            ("table_column", self.table_probe + 2, table, self.column_probe, batch.columns),
            ("branch_row", self.branch_probe, branches, self.branch_row_probe, batch.rows),
            ("branch_column", self.branch_probe, branches, self.branch_column_probe, batch.columns),
        ):
            asked = labels[:, part] != IGNORE
            hidden = states[layer][:, part][asked]
            hidden = F.rms_norm(hidden, hidden.shape[-1:])
            losses[name] = F.cross_entropy(probe(hidden), labels[:, part][asked], reduction="sum") / max(1, len(hidden))
        return losses

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The loss of the predictions, the losses of probes and pointers, and which share of the predictions is right."""
        states, helpers = self.hidden_states(batch)
        helpers |= self._probe_losses(states, batch)
        known = batch.next_ids != IGNORE
        logits = self.model.lm_head(states[-1][known])
        targets, answers = batch.next_ids[known], batch.answers[known]
        weights = torch.where(answers, 1.0, EASY_WEIGHT)
        losses = F.cross_entropy(logits, targets, reduction="none")
        right = (logits.detach().argmax(-1) == targets).float()
        return (
            (losses * weights).sum() / weights.sum(),
            helpers,
            {"right": right[answers].mean(), "right_all": right.mean()},
        )


def save_model(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Write weights (bfloat16) and configuration as a Hugging Face model folder."""
    end = model.config.eos_token_id
    stored = Qwen3ForCausalLM(model.config)
    nn.Module.to(stored, torch.bfloat16)
    stored.load_state_dict({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
    settings = {"eos_token_id": end, "pad_token_id": end, "do_sample": False}
    stored.generation_config = GenerationConfig.from_dict(settings)
    stored.save_pretrained(folder)
