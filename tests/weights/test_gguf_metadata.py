"""What GGUF files say that cannot be: each is refused by its name, in one line, and nothing of the file stays."""

import gc
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreword.errors import ModelError
from foreword.weights.gguf_file import GgufFile
from foreword.weights.gguf_values import KINDS
from foreword.weights.opening import open_checkpoint
from weights.gguf_files import write_gguf

NAN = math.nan
TENSOR = b"blk.1.ffn_up.weight"


@pytest.fixture
def content(model_dir: Callable[..., str], tmp_path: Path) -> bytearray:
    """Of a tiny Llama's file, to be damaged."""
    return bytearray(write_gguf(tmp_path / "whole.gguf", model_dir("llama")).read_bytes())


def refused(path: Path, said: str) -> None:
    """Opening it is one line that names the file, and leaves nothing of the file in memory."""
    with pytest.raises(ModelError, match=said) as error:
        open_checkpoint(str(path)).described()
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    del error
    gc.collect()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(path) not in maps.read_text()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("llama.attention.layer_norm_rms_epsilon", NAN, r"nan, which has to be a number above 0"),
        ("llama.attention.layer_norm_rms_epsilon", "x", r"'x', which has to be a number above 0"),
        ("general.type", "adapter", r"holds no model: its general\.type is 'adapter'\. Take the model's own file"),
        ("general.type", "mmproj", r"holds no model: its general\.type is 'mmproj'"),
        ("llama.rope.freq_base", NAN, r"nan, which has to be a number above 0"),
        ("llama.rope.freq_base", 0.0, r"0\.0, which has to be a number above 0"),
        ("llama.rope.freq_base", math.inf, r"inf, which has to be a number above 0"),
        ("llama.rope.scaling.factor", NAN, r"nan, which has to be a number, 0 or more"),
        ("llama.rope.scaling.factor", -2.0, r"-2\.0, which has to be a number, 0 or more"),
        ("llama.rope.scaling.original_context_length", "x", r"'x', which has to be a whole number"),
        ("llama.context_length", 2**32 - 1, "4294967295, which has to be a whole number"),
        ("llama.block_count", "3", r"'3', which has to be a whole number"),
        ("llama.block_count", True, r"True, which has to be a whole number"),
        ("llama.block_count", 2**20, r"no tensor 'blk\.3\."),
        ("llama.attention.head_count_kv", "x", r"'x', which has to be a whole number"),
        ("llama.attention.head_count_kv", 3, r"4 query heads share 3 key heads"),
        ("llama.attention.sliding_window", NAN, r"nan, which has to be a whole number"),
        ("llama.attention.sliding_window_pattern", 0, r"0, which has to be a whole number above 0, or a list"),
        ("llama.attention.sliding_window_pattern", [True] * 7, r"of 7 layers whether they have a window .*has 3"),
        ("llama.expert_count", NAN, r"nan, which has to be a whole number"),
        ("llama.logit_scale", NAN, r"nan, which has to be a number"),
        ("general.alignment", 0, r"alignment 0; it is a power of two"),
        ("general.alignment", 24, r"alignment 24; it is a power of two"),
        ("general.alignment", "x", r"alignment 'x'; it is a power of two"),
        ("tokenizer.ggml.tokens", [1, 2, 3], r"tokens = \[1, 2, 3\], which has to be a list of str"),
        ("tokenizer.ggml.tokens", "abc", r"tokens = 'abc', which has to be a list of str"),
        ("tokenizer.ggml.token_type", ["a"], r"token_type = \['a'\], which has to be a list of int"),
        ("tokenizer.ggml.token_type", [1, 1], r"320 tokens, but says of 2 what they are"),
        ("tokenizer.ggml.merges", [1, 2], r"merges = \[1, 2\], which has to be a list of str"),
        ("tokenizer.ggml.model", 5, r"a tokenizer of kind 5, which cannot be read"),
        ("tokenizer.ggml.pre", [1], r"the pre-tokenizer \[1\], which is not known here"),
        ("tokenizer.chat_template", 5, r"its chat template 'default' is 5, which has to be text"),
        ("tokenizer.chat_template", False, r"its chat template 'default' is False, which has to be text"),
        ("tokenizer.chat_template.tool_use", 5, r"its chat template 'tool_use' is 5, which has to be text"),
        ("split.count", 3, r"is one of 3 parts by what it says, and one of 1 by its name"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_key(
    model_dir: Callable[..., str], tmp_path: Path, key: str, value: Any, said: str
) -> None:
    refused(write_gguf(tmp_path / "model.gguf", model_dir("llama"), more={key: value}), said)


@pytest.mark.parametrize(
    "key",
    ["llama.block_count", "llama.rope.scaling.type", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
     "tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_bos_token", "general.alignment", "split.count"],
)  # fmt: skip
def test_a_value_of_any_length_is_told_in_one_short_line(model_dir: Callable[..., str], tmp_path: Path, key: str) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), more={key: "long\n" * 30000})
    with pytest.raises(ModelError, match=r"long\\nlong.*\.\.\.") as error:
        open_checkpoint(str(path)).described()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500 + len(str(path))


def test_a_tensor_s_name_has_an_end(tmp_path: Path, content: bytearray) -> None:
    path, at = tmp_path / "model.gguf", content.index(TENSOR)
    path.write_bytes(content[: at - 8] + struct.pack("<Q", 256) + b"x" * 256 + content[at + len(TENSOR) :])
    refused(path, r"has a tensor whose name is too long: 'x+")


def test_a_key_is_of_one_kind() -> None:
    keys = [key for some, _, _ in KINDS for key in some]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("value", [NAN, 0.0, -1.0])
def test_factors_of_positions_that_are_no_numbers_above_0_are_refused(
    model_dir: Callable[..., str], tmp_path: Path, value: float
) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors["rope_freqs.weight"] = np.array([1.0] * 7 + [value], np.float32)

    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), change=add)
    refused(path, r"'rope_freqs\.weight' .* has to be 8 numbers above 0, in F32")


def test_factors_of_another_count_are_refused(model_dir: Callable[..., str], tmp_path: Path) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors["rope_freqs.weight"] = np.ones(5, np.float32)

    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), change=add)
    refused(path, r"'rope_freqs\.weight' .* has to be 8 numbers above 0, in F32")


@pytest.mark.parametrize(
    ("at", "count", "said"),
    [
        (8, 2**63, r"says that it holds 9223372036854775808 tensors, which no model does"),
        (16, 2**62, r"says that it holds 4611686018427387904 values, which no model does"),
        (8, 2**20, r"cut off within its header|no UTF-8|dimensions; at most 4"),
    ],
)
def test_a_huge_count_does_not_fill_the_memory(tmp_path: Path, content: bytearray, at: int, count: int, said: str) -> None:
    struct.pack_into("<Q", content, at, count)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refused(path, said)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (struct.pack("<IIQ", 9, 8, 2**62), r"holds 4611686018427387904 values of a list"),
        (struct.pack("<IIQ", 9, 8, 2**20), r"cut off within its header|no UTF-8"),
        (struct.pack("<IIQ", 9, 0, 2**24 + 1), r"holds 16777217 values of a list"),
        (struct.pack("<IIQ", 9, 0, 2**24), r"cut off within its header"),
        (struct.pack("<IIQ", 9, 99, 3), r"a value of the unknown kind 99"),
        (struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000, r"lists within lists, 4 deep and more"),
    ],
)
def test_so_do_lists(tmp_path: Path, content: bytearray, head: bytes, said: str) -> None:
    key = b"tokenizer.ggml.tokens"
    at = content.index(key) + len(key)
    path = tmp_path / "model.gguf"
    path.write_bytes(content[:at] + head + content[at + 16 :])
    refused(path, said)


def test_a_tensor_or_a_key_that_is_there_twice(tmp_path: Path, content: bytearray) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content.replace(b"blk.2.ffn_up.weight", TENSOR))
    refused(path, r"'blk\.1\.ffn_up\.weight' is in GGUF file .* a second time")
    path.write_bytes(content.replace(b"general.architecture", b"tokenizer.ggml.model"))
    refused(path, r"says 'tokenizer\.ggml\.model' a second time")


@pytest.mark.parametrize(
    ("dimensions", "offset", "said"),
    [
        ((2**32, 2**32), 0, r"cut off: its tensor 'blk\.1\.ffn_up\.weight' would end at byte"),
        ((64, 0), 0, r"'blk\.1\.ffn_up\.weight' .* of shape \[0, 64\] it would leave 24576 bytes before tensor 'blk"),
        ((64, 96), 2**63, r"cut off: its tensor 'blk\.1\.ffn_up\.weight' would end at byte 92233720"),
        ((64, 1), 3, r"'blk\.1\.ffn_up\.weight' .* begins at byte \d+, which is no multiple of 32"),
    ],
)
def test_a_tensor_that_lies_where_it_cannot(
    tmp_path: Path, content: bytearray, dimensions: tuple[int, int], offset: int, said: str
) -> None:
    at = content.index(TENSOR) + len(TENSOR)
    own = struct.unpack_from("<IQQIQ", content, at)[-1]
    struct.pack_into("<IQQIQ", content, at, 2, *dimensions, 0, own + offset)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refused(path, said)


def test_the_last_tensor_is_as_large_as_the_file_says(model_dir: Callable[..., str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), "Q8_0")
    last = max(GgufFile(path).tensors.values(), key=lambda tensor: tensor.begin)
    content, name = bytearray(path.read_bytes()), last.name.encode()
    at = content.index(name) + len(name) + 4 + 8 * len(last.shape)
    struct.pack_into("<I", content, at, 2)
    path.write_bytes(content)
    refused(path, rf"'{last.name}' .* as Q4_0 of shape .* it would leave \d+ bytes before the file's end")


@pytest.mark.parametrize("kept", ["long", "short"])
def test_positions_are_scaled_by_both_tensors_or_by_none(model_dir: Callable[..., str], tmp_path: Path, kept: str) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors[f"rope_factors_{kept}.weight"] = np.ones(8, np.float32)

    path = write_gguf(tmp_path / "model.gguf", model_dir("phi3"), change=add)
    refused(path, r"has to have tensors 'rope_factors_long\.weight' and 'rope_factors_short\.weight' and say")


def test_what_is_no_file(tmp_path: Path) -> None:
    for name, make in (
        ("pipe.gguf", os.mkfifo),
        ("folder.gguf", os.mkdir),
        ("loop.gguf", lambda path: path.symlink_to(path)),
        ("nobody.gguf", lambda path: path.symlink_to("nothing")),
    ):
        path = tmp_path / name
        make(path)
        with pytest.raises(ModelError, match=rf"There is no GGUF file '.*{name}'|directory '.*{name}'") as error:
            open_checkpoint(str(path))
        assert "\n" not in str(error.value)
    loop = tmp_path / "models" / "loop.gguf"
    loop.parent.mkdir()
    loop.symlink_to(loop)
    with pytest.raises(ModelError, match=r"loop\.gguf' cannot be read"):
        open_checkpoint(str(loop.parent))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([(0, 2), (0, 2)], r"00002-of-00002\.gguf' is part 0 by what it says, counted from 0, and part 1 by its name"),
        ([(0, 2), (1, 3)], r"00002-of-00002\.gguf' is one of 3 parts by what it says, and one of 2 by its name"),
        ([(0, None), (1, 2)], r"00001-of-00002\.gguf' is one of 1 parts by what it says, and one of 2 by its name"),
    ],
)
def test_parts_that_are_not_of_one_model(
    model_dir: Callable[..., str], tmp_path: Path, told: list[tuple[int, int | None]], said: str
) -> None:
    for place, (number, count) in enumerate(told):
        more = {"split.no": number, "split.count": count}
        write_gguf(tmp_path / f"model-{place + 1:05}-of-00002.gguf", model_dir("llama"), more=more)
    with pytest.raises(ModelError, match=said):
        open_checkpoint(str(tmp_path / "model-00001-of-00002.gguf"))


@pytest.mark.parametrize("name", ["model-00001-of-00000.gguf", "model-00003-of-00002.gguf"])
def test_a_name_that_no_part_can_have_is_a_name(model_dir: Callable[..., str], tmp_path: Path, name: str) -> None:
    assert len(GgufFile(write_gguf(tmp_path / name, model_dir("llama"))).parts) == 1
