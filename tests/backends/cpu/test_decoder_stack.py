"""Decoder layers in our kernels: where they take the place of transformers', and that they give the same bits as a whole."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize
from transformers.models.llama import modeling_llama

from engine.models import load
from foreword.backends.base import AttentionStep, Span, running
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.cpu.decoder_stack import DecoderStack
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.kv_memory import PanelMemory
from foreword.backends.registry import KV_DTYPES, make_backend
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.self_test import run_self_test
from foreword.testing.tiny_models import FAMILIES, write_model
from foreword.weights.safetensors import SafetensorsCheckpoint

COMMON_SHAPE = {"llama", "mistral", "qwen2", "qwen3"}
BLOCK = 16


def stacks(loaded: LoadedModel) -> list[DecoderStack]:
    return [module for module in loaded.module.modules() if isinstance(module, DecoderStack)]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_the_common_shape_are_replaced_and_no_others(tmp_path: Path, family: str) -> None:
    loaded = load(str(write_model(tmp_path, family)))
    assert len(stacks(loaded)) == (family in COMMON_SHAPE)
    assert len(loaded.layers) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_act": "gelu"},
        {"hidden_size": 72},
        {"intermediate_size": 100},
        {"head_dim": 24},
    ],
    ids=str,
)
def test_another_activation_or_odd_sizes_stay_with_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    assert not stacks(load(str(write_model(tmp_path, "llama", **options))))


def test_a_layer_that_computes_something_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are the same; the result is not."""
    path = str(write_model(tmp_path, "llama"))
    forward: Any = modeling_llama.LlamaMLP.forward
    with monkeypatch.context() as patch:
        patch.setattr(modeling_llama.LlamaMLP, "forward", lambda self, x: 1.001 * forward(self, x))
        assert not stacks(load(path))
    assert stacks(load(path))


class Batch:
    """Two sequences in a packed batch: one that goes on behind 300 tokens, and one that begins."""

    def __init__(self, loaded: LoadedModel, kv_dtype: str):
        self.rows, width = 38, loaded.module.config.hidden_size
        random = torch.Generator().manual_seed(3)
        self.hidden = torch.randn(1, self.rows, width, generator=random)
        self.memory = PanelMemory(best_target(), loaded.shapes, 64, BLOCK, getattr(torch, kv_dtype))
        for layer, shape in enumerate(loaded.shapes):
            sizes = (shape.key_size, shape.value_size)
            keys, values = (torch.randn(shape.heads, 300, size, generator=random) for size in sizes)
            self.memory.write(layer, torch.arange(300), keys, values)
        table = np.arange(64, dtype=np.int32)
        spans = [Span(0, 300, 307, table[:20]), Span(7, 0, 30, table[40:42])]
        self.step = AttentionStep.of(TiledAttention(best_target()), self.memory, spans, self.rows)
        positions = torch.tensor([[*range(300, 307), *range(30), 0]])
        self.turns = loaded.module.model.rotary_emb(self.hidden, positions)

    def run(self, layers: Any) -> list[torch.Tensor]:
        hidden = self.hidden.clone()
        with running(self.step):
            for layer in layers:
                hidden = layer(hidden, position_embeddings=self.turns)
        return [hidden[:, : len(self.step.slots)], *(memory.clone() for memory in (*self.memory.keys, *self.memory.values))]


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("family", sorted(COMMON_SHAPE))
@torch.inference_mode()
def test_the_program_gives_the_bits_of_the_layers_one_by_one(
    tmp_path: Path, family: str, quantization: str, kv_dtype: str
) -> None:
    loaded = load(str(write_model(tmp_path, family)), quantization, kv_dtype)
    stack = stacks(loaded)[0]
    found, expected = Batch(loaded, kv_dtype).run([stack]), Batch(loaded, kv_dtype).run(stack.layers)
    assert found[0].isfinite().all()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not torch.equal(found[0], Batch(loaded, kv_dtype).hidden[:, :37])


class Mixed(SafetensorsCheckpoint):
    """Of its tensors some are stored in blocks, layers unlike each other, and so are the parts that read the same rows."""

    stored: ClassVar[dict[str, str]] = {
        "layers.0.self_attn.v_proj": "q8_0",
        "layers.1.mlp.down_proj": "q4_0",
        "layers.1.mlp.up_proj": "q5_0",
        "layers.2.self_attn.v_proj": "q8_0",
    }

    def block_formats(self) -> dict[str, str]:
        return {f"model.{name}.weight": format for name, format in self.stored.items()}

    def blocks(self, name: str) -> torch.Tensor:
        weight, format = self.tensor(name), self.block_formats()[name]
        assert weight is not None
        return torch.from_numpy(quantize(weight.numpy(), GGMLQuantizationType[format.upper()]))


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@torch.inference_mode()
def test_layers_in_different_formats_are_one_program_too(tmp_path: Path, family: str) -> None:
    """With biases (Qwen2) and without."""
    checkpoint = Mixed(str(write_model(tmp_path, family)))
    loaded = load_model(checkpoint, backend := make_backend("cpu", 16))
    (stack,) = stacks(loaded)
    assert backend.describe().words.count("linear layers in float32, q4_0, q5_0, q8_0") == 1
    found, expected = Batch(loaded, "float32").run([stack]), Batch(loaded, "float32").run(stack.layers)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    plain = Batch(loaded, "float32").run(stacks(load(str(tmp_path)))[0].layers)
    assert not torch.equal(found[0], plain[0])
    assert torch.cosine_similarity(found[0].flatten(), plain[0].flatten(), dim=0) > 0.99
    assert run_self_test(loaded, backend).passed
