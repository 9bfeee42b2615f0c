"""Models in Hugging Face layout: what their files give, and what is said of those that are missing or damaged."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from engine.models import load
from foreword.errors import ModelError
from foreword.weights.safetensors import PACKAGED_MODEL, SafetensorsCheckpoint


@pytest.fixture
def copy(model_dir: Callable[..., str], tmp_path: Path) -> Path:
    """A model's directory to be damaged."""
    return Path(shutil.copytree(model_dir("llama"), tmp_path / "copy"))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'.*/nowhere' is no directory. Name a directory"):
        load(str(tmp_path / "nowhere"))


def test_a_directory_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(str(tmp_path))


@pytest.mark.parametrize("damage", [b"{", b'{"model_type": "no-such-model"}'])
def test_a_damaged_configuration(copy: Path, damage: bytes) -> None:
    (copy / "config.json").write_bytes(damage)
    with pytest.raises(ModelError, match=r"configuration of model '.*copy' could not be loaded"):
        load(str(copy))


@pytest.mark.parametrize("value", [1, "odd", [None], -1.5, {}])
def test_what_an_architecture_is_called_may_be_anything(copy: Path, value: Any) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "architectures": value}))
    assert load(str(copy)).layers


def test_a_value_that_cannot_be_is_told_with_its_key_and_the_reason(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "vocab_size": [None]}))
    with pytest.raises(ModelError, match=r"field 'vocab_size': \w+.* Check the files") as error:
        load(str(copy))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 5, 200, -100])
def test_damaged_weights(copy: Path, keep: int) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors of model '.*copy' cannot be read.*download it again"):
        load(str(copy))


def test_weights_are_safetensors_only(copy: Path) -> None:
    weights = torch.nn.Linear(1, 1).state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"weights of model .* could not be loaded"):
        load(str(copy))


def test_weights_that_lack_a_layer(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load(str(copy))


@pytest.mark.parametrize(("key", "value"), [("intermediate_size", 97), ("vocab_size", 319)])
def test_sizes_that_do_not_fit_are_told_by_the_tensor_s_name(copy: Path, key: str, value: int) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, key: value}))
    shapes = rf"the shape \[.*{config[key]}.*\]; by its configuration it is \[.*{value}.*\]"
    with pytest.raises(ModelError, match=rf"Tensor '.*weight' of model '.*copy' has {shapes}"):
        load(str(copy))


def test_missing_tokenizer(copy: Path) -> None:
    for file in copy.glob("token*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"tokenizer"):
        load(str(copy))


def test_a_hub_name_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"'nobody/no-such-model' is no directory here, and could not be fetched"):
        load("nobody/no-such-model")


def test_loading_prints_nothing(model_dir: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    logger = transformers.utils.logging
    logger.enable_progress_bar()
    before = logger.get_verbosity()
    load(model_dir("llama"))
    assert capfd.readouterr() == ("", "")
    assert (logger.get_verbosity(), logger.is_progress_bar_enabled()) == (before, True)


def test_the_packaged_model_is_the_one_without_a_name() -> None:
    checkpoint = SafetensorsCheckpoint(None)
    assert (checkpoint.name, checkpoint.path) == ("table-reader", PACKAGED_MODEL)
    assert checkpoint.described() is None
    assert checkpoint.tokenizer.is_fast
    assert not checkpoint.block_formats()
    with pytest.raises(KeyError, match="lm_head"):
        checkpoint.blocks("lm_head.weight")


def test_equal_files_have_one_digest_and_a_changed_bit_another(copy: Path, model_dir: Callable[..., str]) -> None:
    same = SafetensorsCheckpoint(model_dir("llama")).digest()
    assert SafetensorsCheckpoint(str(copy)).digest() == same
    for name in ("model.safetensors", "config.json"):
        data = bytearray((copy / name).read_bytes())
        data[-1] ^= 1
        (copy / name).write_bytes(data)
        changed = SafetensorsCheckpoint(str(copy)).digest()
        assert changed != same
        same = changed


@pytest.mark.parametrize(
    "tensor",
    [
        "model.embed_tokens.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.2.self_attn.v_proj.weight",
    ],
)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_weights_that_are_no_numbers_are_refused_by_name(copy: Path, tensor: str, broken: float, quantization: str) -> None:
    weights = load_file(copy / "model.safetensors")
    weights[tensor].view(-1)[5] = broken
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"Tensor '{tensor}' of model '.*copy' holds 1 weights that are no numbers"):
        load(copy, quantization)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_so_are_biases_and_whole_models_in_every_kind_of_number(
    tmp_path: Path, model_dir: Callable[..., str], kind: torch.dtype
) -> None:
    shutil.copytree(model_dir("qwen2"), tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    weights = {name: weight.to(kind) for name, weight in load_file(file).items()}
    bias = next(name for name in weights if name.endswith("bias"))
    for names in ([bias], list(weights)):
        for name in names:
            weights[name] = torch.full_like(weights[name], float("nan"))
        save_file(weights, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match="that are no numbers"):
            load(tmp_path / "copy", "none")


def test_weights_whose_sum_is_no_number_are_numbers(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["model.embed_tokens.weight"][7, :3] = 3e38
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(copy).layers


def test_a_model_without_a_tokenizer_is_refused_with_the_way_out(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer: no tokenizer\.json lies there\. Copy it from"):
        load(copy)


def test_a_python_without_docstrings_says_so(copy: Path) -> None:
    code = f"from foreword import LLM\nLLM({str(copy)!r}, start_cache_dir='off', self_test=False)"
    ended = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert "ModelError: Python was started without docstrings (PYTHONOPTIMIZE=2, or -OO)" in ended.stderr


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("model.layers.1.mlp.up_proj.weight_scale_inv", "LlamaForCausalLM does not know.*weight_scale_inv"),
        ("model.layers.0.self_attn.sinks", "LlamaForCausalLM does not know.*sinks"),
        ("model.layers.2.extra_norm.weight", "LlamaForCausalLM does not know.*extra_norm"),
    ],
)
def test_tensors_that_nobody_asks_for_are_not_left_out(copy: Path, extra: str, told: str) -> None:
    weights = load_file(copy / "model.safetensors")
    save_file({**weights, extra: torch.ones(1)}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=told):
        load(str(copy))


def test_layers_beyond_those_that_the_configuration_says_are_not_left_out(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(ModelError, match=r"hold 2 layers more than its configuration says, 'model\.layers\.1' among them"):
        load(str(copy))


def test_a_layer_that_guesses_further_tokens_may_be_left_out(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(copy / "model.safetensors")
    begin = "model.layers.2."
    guesses = {name.replace(begin, "model.layers.3."): weight.clone() for name, weight in weights.items() if begin in name}
    guesses["model.layers.3.eh_proj.weight"] = torch.ones(2, 2)
    save_file({**weights, **guesses}, copy / "model.safetensors", {"format": "pt"})
    load(str(copy))
    assert "tensors in the model's files are not used, model.layers.3.eh_proj.weight among them" in caplog.text


def test_scales_of_an_unknown_quantisation_are_told_by_its_name(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "new-kind"}}))
    weights = {
        name: weight.to(torch.float8_e4m3fn) if "mlp" in name else weight
        for name, weight in load_file(copy / "model.safetensors").items()
    }
    weights["model.layers.0.mlp.up_proj.weight_scale"] = torch.ones(96, 1)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"quantised by 'new-kind' .*Take the model unquantised"):
        load(str(copy))


def test_weights_in_whole_numbers_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].to(torch.int8)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj\.weight' of model .* is of type I8: quantised weights"):
        load(str(copy))


def test_parts_beside_the_language_model_may_be_left_out(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(copy / "model.safetensors")
    extra = {"vision_tower.layers.0.weight": torch.ones(1), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(1)}
    save_file({**weights, **extra}, copy / "model.safetensors", {"format": "pt"})
    load(str(copy))
    assert "1 tensors in the model's files are not used, vision_tower.layers.0.weight among them" in caplog.text
