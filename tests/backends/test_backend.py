"""One conformance suite for all backends: KV memory, steps, models prepared, figures. For attention see test_attention."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from backends.batches import kept
from foreword.backends.base import AttentionStep, Backend, LayerCall, LayerShape, Span, slots_of
from foreword.backends.host import host_memory
from foreword.backends.registry import BACKENDS, KV_DTYPES, make_backend
from foreword.cache import CopyBlock
from foreword.engine.forward import run_model
from foreword.engine.model import LoadedModel, load_model
from foreword.errors import ConfigError
from foreword.weights.safetensors import SafetensorsCheckpoint

SHAPES = (LayerShape(heads=2, key_size=16, value_size=24), LayerShape(heads=1, key_size=32, value_size=8))
SIZES = (1, 4, 16, 64)
"""Tokens of a block."""

everywhere = pytest.mark.parametrize("name", BACKENDS)


def filled(backend: Backend[Any], num_blocks: int, seed: int = 0) -> Any:
    """A memory for SHAPES with a random number everywhere."""
    memory, random = backend.make_memory(SHAPES, num_blocks), torch.Generator().manual_seed(seed)
    slots = torch.arange(num_blocks * backend.options.block_size)
    for layer, shape in enumerate(SHAPES):
        sizes = shape.key_size, shape.value_size
        memory.write(layer, slots, *(torch.randn(shape.heads, len(slots), size, generator=random) for size in sizes))
    return memory


def contents(memory: Any, slots: torch.Tensor) -> list[torch.Tensor]:
    return [part for layer in range(len(SHAPES)) for part in memory.read(layer, slots)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@everywhere
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read_and_nothing_else_is_touched(name: str, size: int, kv_dtype: str) -> None:
    backend = make_backend(name, size, kv_dtype)
    memory = backend.make_memory(SHAPES, 192 // size)
    assert tuple(memory.layers) == SHAPES
    assert memory.block_size == size
    slots = torch.tensor([40, 1, 17])
    keys, values = torch.randn(1, 3, 32), torch.randn(1, 3, 8)
    memory.write(1, slots, keys, values)
    for found, written in zip(memory.read(1, slots), (keys, values), strict=True):
        assert torch.equal(found, kept(written, kv_dtype))
    others = torch.tensor([slot for slot in range(192) if slot not in (40, 1, 17)])
    assert not any(part.any() for part in (*memory.read(1, others), *memory.read(0, torch.arange(192))))


@everywhere
@pytest.mark.parametrize("size", SIZES)
def test_copies_are_carried_out_in_order(name: str, size: int) -> None:
    """The first tokens of a block, in every layer; the second copy takes what the first one brought."""
    memory = filled(make_backend(name, size), 8)
    before = contents(memory, torch.arange(8 * size))
    tokens = max(1, size - 1)
    memory.copy([CopyBlock(source=5, target=2, tokens=tokens), CopyBlock(source=2, target=7, tokens=tokens)])
    for found, old in zip(contents(memory, torch.arange(8 * size)), before, strict=True):
        expected = old.clone()
        for target in (2, 7):
            expected[:, target * size : target * size + tokens] = old[:, 5 * size : 5 * size + tokens]
        assert torch.equal(found, expected)


@everywhere
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_raw_blocks_are_the_same_in_another_memory_and_other_blocks(name: str, size: int, kv_dtype: str) -> None:
    backend = make_backend(name, size, kv_dtype)
    memory, other = filled(backend, 32), filled(backend, 32, seed=1)
    taken, given = [30, 3, 4, 11], [1, 9, 0, 31]
    raw = memory.read_blocks(taken)
    assert raw.dtype == np.uint8
    assert raw.shape == (4, backend.block_bytes(SHAPES))
    kept = torch.tensor([slot for slot in range(32 * size) if slot // size not in given])
    before = contents(other, kept)
    other.write_blocks(given, raw)
    assert np.array_equal(other.read_blocks(given), raw)
    source, target = (slots_of([Span(0, 0, 4 * size, np.array(blocks, np.int32))], size) for blocks in (taken, given))
    assert same(contents(memory, source), contents(other, target))
    assert same(contents(other, kept), before)
    assert memory.layout == other.layout


@everywhere
def test_raw_blocks_are_a_copy_and_of_one_size(name: str) -> None:
    backend = make_backend(name, 16)
    memory = filled(backend, 4)
    raw = memory.read_blocks([1])
    before = raw.copy()
    memory.write_blocks([1], memory.read_blocks([2]))
    assert np.array_equal(raw, before)
    assert memory.read_blocks([]).shape == (0, backend.block_bytes(SHAPES))
    for wrong in (raw[:, :-1], np.concatenate([raw, raw])):
        with pytest.raises(ValueError, match="1 blocks of"):
            memory.write_blocks([1], wrong)


@everywhere
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_bytes_of_a_block_are_those_of_all_layers(name: str, kv_dtype: str) -> None:
    """At least the numbers that are kept; whole panels may take more."""
    numbers = sum(shape.heads * (shape.key_size + shape.value_size) for shape in SHAPES)
    heads = sum(shape.heads for shape in SHAPES)
    least = 16 * (numbers * getattr(torch, kv_dtype).itemsize + (8 * heads if kv_dtype == "int8" else 0))
    backend = make_backend(name, 16, kv_dtype)
    assert least <= backend.block_bytes(SHAPES) <= 2 * least
    assert backend.block_bytes(SHAPES * 3) == 3 * backend.block_bytes(SHAPES)


@everywhere
@torch.inference_mode()
def test_a_step_stores_the_batchs_keys_and_values_and_attends(name: str) -> None:
    """A chunk that goes on behind 20 tokens, and a beginning; a row of padding, whose keys are not stored."""
    backend, shape = make_backend(name, 16), LayerShape(2, 16, 16)
    memory = backend.make_memory([shape], 8)
    whole_keys, whole_values = torch.randn(2, 27, 16), torch.randn(2, 27, 16)
    first, second = np.array([5, 2], np.int32), np.array([7], np.int32)
    memory.write(0, slots_of([Span(0, 0, 20, first)], 16), whole_keys[:, :20], whole_values[:, :20])
    spans = [Span(0, 20, 27, first), Span(7, 0, 4, second)]
    step = AttentionStep.of(backend.attention, memory, spans, 12)
    query, keys, values = (torch.randn(heads, 12, 16) for heads in (4, 2, 2))
    keys[:, :7], values[:, :7] = whole_keys[:, 20:], whole_values[:, 20:]
    out = step.attend(LayerCall(0, 0.25), query, keys, values)
    assert out.shape == (12, 4, 16)
    assert not out[11].any()
    for span in spans:
        own = slice(span.row, span.row + span.end - span.start)
        seen = (whole_keys, whole_values) if span.start else (keys[:, own], values[:, own])
        k, v = (part.double().repeat_interleave(2, 0) for part in seen)
        scores = query[:, own].double() @ k.mT * 0.25
        hidden = torch.arange(span.end) > torch.arange(span.start, span.end)[:, None]
        expected = (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v).transpose(0, 1)
        torch.testing.assert_close(out[own].double(), expected, rtol=0, atol=2e-6)
    assert torch.equal(memory.read(0, slots_of(spans, 16))[0], keys[:, :11])


@pytest.fixture
def logits(model_dir: Callable[..., str]) -> Callable[..., torch.Tensor]:
    """Of 40 tokens in a model that a backend has prepared."""

    def of(backend: Backend[Any], family: str) -> torch.Tensor:
        model: LoadedModel = load_model(SafetensorsCheckpoint(model_dir(family)), backend)
        size = backend.options.block_size
        table = np.arange(-(-40 // size), dtype=np.int32)
        memory = backend.make_memory(model.shapes, len(table))
        step = AttentionStep.of(backend.attention, memory, [Span(0, 0, 40, table)], 40)
        with torch.inference_mode():
            return run_model(model.module, torch.arange(2, 42), torch.arange(40), torch.arange(40), step)

    return of


@everywhere
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_a_prepared_model_gives_the_models_outputs(
    logits: Callable[..., torch.Tensor], model_dir: Callable[..., str], name: str, family: str
) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        model_dir(family), attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        expected = plain(input_ids=torch.arange(2, 42)[None]).logits[0]
    found = logits(make_backend(name, 16), family)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@everywhere
def test_linear_layers_are_told_with_what_they_read(model_dir: Callable[..., str], name: str) -> None:
    backend = make_backend(name, 16)
    model = load_model(SafetensorsCheckpoint(model_dir("llama")), backend)
    layers = backend.linear_layers(model.module)
    numbers = sum(layer.in_features * layer.out_features for layer in layers)
    assert numbers == 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96) + 64 * 320
    assert sum(layer.weight_bytes for layer in layers) == numbers * backend.describe().weight_bits / 8
    for layer in layers:
        assert layer.module(torch.zeros(3, layer.in_features)).shape == (3, layer.out_features)
    assert any(layer.module is model.module.get_output_embeddings() for layer in layers)


@everywhere
def test_one_linear_layer_by_itself(name: str) -> None:
    weight, rows = torch.randn(48, 64), torch.randn(5, 64)
    layer = make_backend(name, 16).linear(weight)
    torch.testing.assert_close(layer(rows), rows @ weight.T, rtol=0, atol=1e-4)


class Observer:
    """Notes the parts that begin, and that each ends."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.open: list[str] = []

    def begin(self, part: str) -> None:
        self.parts.append(part)
        self.open.append(part)

    def end(self) -> None:
        self.open.pop()


@everywhere
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_an_observer_is_told_of_attention_and_changes_no_bit(model_dir: Callable[..., str], name: str, family: str) -> None:
    backend = make_backend(name, 16)
    model = load_model(SafetensorsCheckpoint(model_dir(family)), backend)
    raw = []
    for observer in (None, Observer()):
        memory, table = backend.make_memory(model.shapes, 3), np.arange(3, dtype=np.int32)
        step = AttentionStep.of(backend.attention, memory, [Span(0, 0, 40, table)], 40, observer)
        with torch.inference_mode():
            run_model(model.module, torch.arange(2, 42), torch.arange(40), torch.arange(1), step)
        raw.append(memory.read_blocks([0, 1, 2]))
    assert observer is not None
    assert observer.parts.count("attention") >= len(model.layers)
    assert not observer.open
    assert np.array_equal(*raw)


@everywhere
def test_what_is_asked_for_is_kept_and_described(name: str) -> None:
    backend = make_backend(name, 32, "bfloat16")
    assert (backend.options.name, backend.options.block_size, backend.options.kv_dtype) == (name, 32, "bfloat16")
    memory, description = backend.device_memory(), backend.describe()
    assert 0 < memory.free <= memory.total
    assert "thread" in description.words
    assert description.numerics.order
    assert str(torch.get_num_threads()) in description.numerics.machine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("cup", 16), r"backend is 'cup'; known: cpu, reference\."),
        (("cpu", 16, "float16"), r"kv_dtype is 'float16'; known: float32, bfloat16, int8\."),
        (("cpu", 16, "float32", "int4"), r"quantization is 'int4'; known: none, bf16, f16, float32, int8, q4_0, "),
        (("cpu", 48), r"block_size is 48; it must divide 256: 1, 2, 4, \.\.\. 256\."),
        (("cpu", 512), r"block_size is 512; it must divide 256"),
        (("cpu", 0), r"block_size is 0"),
        (("reference", 0), r"block_size is 0"),
        (("cpu", 16, "float32", "int8", None, "auto", 4), r"activation_bits is 4; it is 8 or 16\."),
        (
            ("reference", 16, "float32", "none", None, "auto", 16),
            r"activation_bits is 16, but backend 'reference' .* no kernels",
        ),
        (("reference", 16, "float32", "int8"), r"quantization is 'int8', but backend 'reference' .* use backend 'cpu'"),
    ],
)
def test_what_a_backend_does_not_know_is_refused_by_name(options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_backend(*options)


def test_a_container_has_the_memory_that_it_may_have(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = host_memory(limit).total
    for text, total in (("max\n", whole), ("12345678\n", 12345678), (f"{2 * whole}\n", whole)):
        limit.write_text(text)
        memory = host_memory(limit)
        assert memory.total == total
        assert memory.free <= total
