"""A model's directory that is harmed: one line that names the file, the key or the tensor, and the way out."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.models import load
from foreword.errors import ModelError
from foreword.weights.safetensors import SafetensorsCheckpoint

Harm = Callable[[Path], Any]


@pytest.fixture
def copy(model_dir: Callable[..., str], tmp_path: Path) -> Path:
    """A model's directory to be damaged."""
    return Path(shutil.copytree(model_dir("llama"), tmp_path / "copy"))


def config(**changed: Any) -> Harm:
    def harm(folder: Path) -> None:
        told = json.loads((folder / "config.json").read_bytes())
        (folder / "config.json").write_text(json.dumps({**told, **changed}))

    return harm


def put(name: str, content: bytes) -> Harm:
    return lambda folder: (folder / name).write_bytes(content)


def tokenizer(*keys: str, value: Any) -> Harm:
    def harm(folder: Path) -> None:
        told = part = json.loads((folder / "tokenizer.json").read_bytes())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (folder / "tokenizer.json").write_text(json.dumps(told))

    return harm


def as_folder(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return harm


def dangling(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/nowhere/tokenizer.json")


def all_weights(times: float) -> Harm:
    def harm(folder: Path) -> None:
        weights = {name: each * times for name, each in load_file(folder / "model.safetensors").items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return harm


def rope(**parameters: Any) -> Harm:
    return config(rope_parameters={"rope_theta": 1e4, **parameters})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"
UNKNOWN = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<no>", "type_id": 0}}], "pair": []}
HARMED: dict[str, tuple[Harm, str]] = {
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers is 0, and a decoder has at least one. Check config"),
    "layers below none": (config(num_hidden_layers=-1), "num_hidden_layers is -1"),
    "layers without end": (config(num_hidden_layers=10**9), "num_hidden_layers = 1000000000, and its files hold"),
    "a vocabulary without end": (config(vocab_size=10**9), "has 1000000000 times .* and its files have"),
    "no sizes": (put("config.json", b'{"model_type": "llama", "num_hidden_layers": 2}'), "has 32000 times 4096 weights"),
    "a context without end": (config(max_position_embeddings=10**12), "takes 1000000000000 tokens"),
    "a context below none": (config(max_position_embeddings=-5), "takes -5 tokens .* must be between 1 and"),
    "a rope without end": (rope(rope_type="yarn", factor=float("inf")), "takes inf tokens .* rope factor inf"),
    "a rope that is no number": (rope(rope_type="linear", factor=float("nan")), "its logits are no numbers"),
    "a rope of nothing": (rope(rope_type="linear", factor=0), "its logits are no numbers.* Check the weights, and in"),
    "an epsilon that is no number": (config(rms_norm_eps=float("nan")), "and the epsilon of the norms"),
    "huge weights": (all_weights(1e18), "its logits are no numbers"),
    "an unknown activation": (config(hidden_act="nothing"), "there is no 'nothing'. Check the files"),
    "a configuration that is a list": (put("config.json", b"[]"), "config.json holds a list, not an object"),
    "defaults that are nothing": (put("generation_config.json", b"null"), "generation_config.json holds a NoneType"),
    "defaults that are deep": (put("generation_config.json", b"[" * 10**5), "generation_config.json is not valid JSON"),
    "half a tokenizer": (put("tokenizer.json", b"{"), "tokenizer.json is not valid JSON"),
    "a tokenizer that is a list": (put("tokenizer.json", b"[]"), "tokenizer.json holds a list"),
    "an empty tokenizer": (put("tokenizer.json", b"{}"), "tokenizer of model .* there is no 'added_tokens'"),
    "a tokenizer's table": (
        tokenizer("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "x"}),
        "tokenizer of model .*copy' could not be loaded: Precompiled",
    ),
    "a tokenizer's end": (
        tokenizer("post_processor", value={**UNKNOWN, "special_tokens": {}}),
        "tokenizer of model .*copy' could not be loaded",
    ),
    "half a tokenizer's configuration": (put("tokenizer_config.json", b"{"), "tokenizer_config.json is not valid JSON"),
    "a template": (put("chat_template.jinja", b"{{"), "template in the files of model .*copy.*line 1.*Take another file"),
    "empty weights": (put("model.safetensors", b""), "model.safetensors of model .* cannot be read as safetensors"),
    "weights without an end": (
        put("model.safetensors", struct.pack("<Q", 2**62) + b"{}"),
        "model.safetensors of model .* header too large",
    ),
    "a pointer for weights": (put("model.safetensors", POINTER), "model.safetensors of .* `git lfs pull`"),
    "a pointer for words": (put("tokenizer.json", POINTER), "tokenizer.json of .* `git lfs pull`"),
    "a pointer for a configuration": (put("config.json", POINTER), "config.json of .* `git lfs pull`"),
    "a folder for words": (as_folder("tokenizer.json"), "tokenizer.json of model .* cannot be read: Is a directory. Put"),
    "a folder for weights": (as_folder("model.safetensors"), "model.safetensors of model .* Is a directory"),
    "a folder for defaults": (as_folder("generation_config.json"), "generation_config.json of .* Is a directory"),
    "a link to nothing": (dangling, "tokenizer.json of model .* cannot be read: No such file"),
    "an adapter": (put("adapter_config.json", b"{}"), "holds an adapter .* merge_and_unload"),
}


@pytest.mark.parametrize("harm", HARMED)
def test_what_is_harmed_is_told_in_one_line(copy: Path, harm: str) -> None:
    damage, told = HARMED[harm]
    damage(copy)
    with pytest.raises(ModelError, match=told) as caught:
        load(str(copy))
    assert "\n" not in str(caught.value)


def test_an_adapter_alone_is_told_to_be_one(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match="holds an adapter"):
        load(str(copy))


def test_weights_are_read_from_the_file_that_transformers_reads(copy: Path) -> None:
    name = "model.norm.weight"
    weights = load_file(copy / "model.safetensors")
    save_file({name: weights[name] + 1}, copy / "other.safetensors", {"format": "pt"})
    found = SafetensorsCheckpoint(str(copy)).tensor(name)
    assert found is not None and torch.equal(found, weights[name])


SOUND = {"text_encoder": {"model_type": "t5"}, "audio_encoder": {"model_type": "encodec"}}
SEVERAL = {
    "musicgen": ({**SOUND, "decoder": {"model_type": "musicgen_decoder"}}, "musicgen is an encoder-decoder model"),
    "blt": ({}, "blt cannot be served: by its configuration, num_hidden_layers is None"),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_models_of_several_models_are_refused_before_they_are_made(copy: Path, kind: str) -> None:
    parts, told = SEVERAL[kind]
    (copy / "config.json").write_text(json.dumps({"model_type": kind, **parts}))
    with pytest.raises(ModelError, match=told):
        load(str(copy))
