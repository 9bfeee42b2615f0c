"""Safetensors that another program has quantised: read as the weights that they stand for, or refused by name."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from foreword import LLM, SamplingParams
from foreword.errors import ModelError
from foreword.weights.quantised_layers import QuantisedLayers
from foreword.weights.safetensors import SafetensorsCheckpoint

OUT, IN = 16, 64
Tensors = dict[str, torch.Tensor]
Case = tuple[dict[str, Any], Tensors, torch.Tensor]
"""What a configuration says, the tensors of one layer, and the weight that they stand for."""


def packed(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """Words [rows, columns · bits / 32] of numbers [rows, columns], one by one."""
    each = 32 // bits
    words = []
    for row in numbers.tolist():
        chunks = [row[at : at + each] for at in range(0, len(row), each)]
        words.append([sum(number << bits * place for place, number in enumerate(chunk)) for chunk in chunks])
    return torch.tensor(words, dtype=torch.int64).to(torch.int32)


def drawn(shape: tuple[int, ...], top: int) -> torch.Tensor:
    return torch.randint(top, shape, generator=torch.Generator().manual_seed(sum(shape) + top))


def scales_of(*shape: int) -> torch.Tensor:
    return (0.01 + torch.rand(shape, generator=torch.Generator().manual_seed(3)) / 50).half()


def of_gptq(bits: int, group: int, act_order: bool, told: str) -> Case:
    groups = 1 if group == -1 else IN // group
    numbers, zeros = drawn((OUT, IN), 1 << bits), 1 + drawn((OUT, groups), (1 << bits) - 1)
    scales, place = scales_of(OUT, groups), torch.arange(IN) // (IN // groups)
    if act_order:
        place = place[torch.randperm(IN, generator=torch.Generator().manual_seed(5))]
    expected = torch.empty(OUT, IN)
    for row in range(OUT):
        for column in range(IN):
            at = int(place[column])
            expected[row, column] = float(scales[row, at]) * int(numbers[row, column] - zeros[row, at])
    tensors = {
        "qweight": packed(numbers, bits).T.contiguous(),
        "qzeros": packed((zeros - int(told == "gptq")).T, bits),
        "scales": scales.T.contiguous(),
        "g_idx": place.to(torch.int32),
    }
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order, "checkpoint_format": told}
    return config, tensors, expected


def of_awq(group: int) -> Case:
    groups, order = IN // group, [0, 2, 4, 6, 1, 3, 5, 7]
    numbers, zeros, scales = drawn((IN, OUT), 16), drawn((groups, OUT), 16), scales_of(groups, OUT)

    def words(rows: torch.Tensor) -> torch.Tensor:
        """As AWQ's own packer has it: the place ``i`` of a word is of neighbour ``order[i]``."""
        eights = rows.reshape(len(rows), -1, 8)
        return packed(torch.stack([eights[..., at] for at in order], -1).flatten(1), 4)

    expected = torch.empty(OUT, IN)
    for row in range(OUT):
        for column in range(IN):
            at = column // group
            expected[row, column] = float(scales[at, row]) * int(numbers[column, row] - zeros[at, row])
    tensors = {"qweight": words(numbers), "qzeros": words(zeros), "scales": scales}
    return {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}, tensors, expected


def of_packed(asymmetric: bool, act_order: bool) -> Case:
    groups = 4
    numbers, scales = drawn((OUT, IN), 16) - 8, scales_of(OUT, groups)
    zeros = drawn((OUT, groups), 16) - 8 if asymmetric else torch.zeros(OUT, groups, dtype=torch.int64)
    place = torch.arange(IN) // (IN // groups)
    if act_order:
        place = place.flip(0)
    expected = torch.empty(OUT, IN)
    for row in range(OUT):
        for column in range(IN):
            at = int(place[column])
            expected[row, column] = float(scales[row, at]) * int(numbers[row, column] - zeros[row, at])
    tensors = {"weight_packed": packed(numbers + 8, 4), "weight_scale": scales, "weight_shape": torch.tensor([OUT, IN])}
    if asymmetric:
        tensors["weight_zero_point"] = packed((zeros + 8).T, 4).T.contiguous()
    if act_order:
        tensors["weight_g_idx"] = place.to(torch.int32)
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": IN // groups, "symmetric": not asymmetric}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": weights}}}
    return config, tensors, expected


def of_rows(kind: torch.dtype, scale: torch.Tensor, zero: torch.Tensor | None = None) -> Case:
    numbers = (drawn((OUT, IN), 200) - 100).to(kind)
    expected = (numbers.float() - (0 if zero is None else zero.float())) * scale.float()
    tensors = {"weight": numbers, "weight_scale": scale}
    if zero is not None:
        tensors["weight_zero_point"] = zero
    return {"quant_method": "compressed-tensors", "format": "int-quantized"}, tensors, expected


def of_fp8(block: tuple[int, int]) -> Case:
    numbers = ((drawn((OUT, IN), 200) - 100) / 10).to(torch.float8_e4m3fn)
    scale = scales_of(-(-OUT // block[0]), -(-IN // block[1])).float()
    expected = torch.empty(OUT, IN)
    for row in range(OUT):
        for column in range(IN):
            expected[row, column] = float(numbers[row, column]) * float(scale[row // block[0], column // block[1]])
    return (
        {"quant_method": "fp8", "weight_block_size": list(block)},
        {"weight": numbers, "weight_scale_inv": scale},
        expected,
    )


def cases() -> Iterator[Any]:
    for bits, group, act_order in ((4, 16, False), (4, 16, True), (4, -1, False), (8, 32, True), (8, -1, False)):
        for told in ("gptq", "gptq_v2"):
            yield pytest.param(of_gptq(bits, group, act_order, told), id=f"{told}-{bits}-{group}-{act_order}")
    for group in (16, 64):
        yield pytest.param(of_awq(group), id=f"awq-{group}")
    for asymmetric in (False, True):
        for act_order in (False, True):
            yield pytest.param(of_packed(asymmetric, act_order), id=f"packed-{asymmetric}-{act_order}")
    for kind in (torch.int8, torch.float8_e4m3fn):
        yield pytest.param(of_rows(kind, scales_of(OUT, 1).float()), id=f"rows-{kind}")
        yield pytest.param(of_rows(kind, torch.tensor([0.02])), id=f"whole-{kind}")
    yield pytest.param(of_rows(torch.int8, scales_of(OUT, 1), torch.full((OUT, 1), 3, dtype=torch.int8)), id="rows-zeros")
    for block in ((16, 16), (8, 24), (128, 128)):
        yield pytest.param(of_fp8(block), id=f"fp8-{block[0]}-{block[1]}")


def layers(config: dict[str, Any], tensors: Tensors) -> QuantisedLayers:
    named = {f"a.proj.{part}": tensor for part, tensor in tensors.items()} | {"a.norm.weight": torch.ones(IN)}
    return QuantisedLayers("model", config, named.keys(), named.__getitem__)


@pytest.mark.parametrize("case", list(cases()))
def test_a_layer_is_the_weight_that_its_tensors_stand_for(case: Case) -> None:
    config, tensors, expected = case
    found = layers(config, tensors)
    weight = found.weight("a.proj.weight")
    assert weight is not None
    assert torch.allclose(weight, expected, rtol=1e-6, atol=0)
    assert found.names == {"a.proj.weight", "a.norm.weight"}
    assert found.weight("a.norm.weight") is None


def told_of_packed(**more: Any) -> dict[str, Any]:
    """A configuration's group whose weights are told to be otherwise."""
    (group,) = of_packed(False, False)[0]["config_groups"].values()
    return {"config_groups": {"a": {"weights": {**group["weights"], **more}}}}


def two_groups(**more: Any) -> dict[str, Any]:
    return {"config_groups": {**told_of_packed()["config_groups"], "b": {"weights": more}}}


@pytest.mark.parametrize(
    ("case", "more", "said"),
    [
        (
            of_gptq(4, 16, False, "gptq"),
            {"bits": 3},
            r"'gptq' in a way that cannot be read \(3 bits, where 4 and 8 are known\)",
        ),
        (of_gptq(4, 16, False, "gptq"), {"checkpoint_format": "marlin"}, r"\(checkpoint_format 'marlin', where .*'gptq_v2'"),
        (of_gptq(4, 16, False, "gptq"), {"pack_dtype": "int8"}, r"\(pack_dtype 'int8', where"),
        (of_gptq(4, 16, False, "gptq"), {"is_marlin_format": True}, r"\(is_marlin_format 'True', where"),
        (of_awq(16), {"version": "gemv"}, r"'awq' in a way that cannot be read \(version 'gemv', where .*'gemm'"),
        (of_awq(16), {"group_size": 48}, r"64 columns of 'a\.proj' in 4 groups of 48\)"),
        (of_packed(False, False), {"config_groups": {}}, r"\(None bits, where 4 and 8 are known\)"),
        (of_packed(False, False), {"config_groups": ["a"]}, r"\(config_groups .* are not known\)"),
        (of_packed(False, False), {"config_groups": {"a": None}}, r"\(config_groups .* are not known\)"),
        (of_packed(False, False), told_of_packed(type="float"), r"\(packed numbers of type 'float'\)"),
        (
            of_packed(False, False),
            told_of_packed(symmetric=False),
            r"\(not symmetric, and 'a\.proj' has no weight_zero_point\)",
        ),
        (of_packed(False, False), told_of_packed(actorder="group"), r"\(actorder, and 'a\.proj' has no weight_g_idx\)"),
        (of_packed(False, False), told_of_packed(group_size=64), r"64 columns of 'a\.proj' in 4 groups of 64\)"),
        (of_packed(False, False), two_groups(num_bits=8), r"\(groups of layers of different kinds\)"),
        (of_packed(False, False), {"format": "nvfp4-pack-quantized"}, r"\(format 'nvfp4-pack-quantized', where"),
        (
            of_packed(False, False),
            {"transform_config": {"config_groups": {}}},
            r"\(transform_config .*hadamard|transform_config",
        ),
        (of_fp8((16, 16)), {"weight_block_size": [8, 16]}, r"do not fit one another, .*in blocks of \[8, 16\]"),
        (of_fp8((16, 16)), {"weight_block_size": [16, 128]}, r"do not fit one another, .*in blocks of \[16, 128\]"),
        (of_fp8((16, 16)), {"weight_block_size": [0, 0]}, r"do not fit one another"),
        (of_fp8((16, 16)), {"weight_block_size": [16]}, r"do not fit one another"),
        (of_fp8((16, 16)), {"weight_block_size": "x"}, r"do not fit one another"),
        (of_awq(16), {"quant_method": "hqq"}, r"quantised by 'hqq' .*known are gptq, awq, compressed-tensors, fp8"),
        (of_awq(16), {"quant_method": ""}, r"quantised by '' .*Take the model unquantised, or as a GGUF file"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(case: Case, more: dict[str, Any], said: str) -> None:
    config, tensors, _ = case
    with pytest.raises(ModelError, match=said) as error:
        layers({**config, **more}, tensors).weight("a.proj.weight")
    assert str(error.value).count("model 'model'") + str(error.value).count("Model 'model'") == 1


@pytest.mark.parametrize(
    ("case", "part", "change"),
    [
        (of_gptq(4, 16, False, "gptq"), "scales", lambda tensor: tensor[:, :2]),
        (of_gptq(4, 16, False, "gptq"), "qweight", lambda tensor: tensor.float()),
        (of_gptq(4, 16, False, "gptq"), "qweight", lambda tensor: tensor.flatten()),
        (of_gptq(4, 16, True, "gptq"), "g_idx", lambda tensor: tensor + 4),
        (of_gptq(4, 16, True, "gptq"), "g_idx", lambda tensor: tensor - 1),
        (of_gptq(4, 16, True, "gptq"), "g_idx", lambda tensor: tensor[:-1]),
        (of_awq(16), "qzeros", lambda tensor: tensor.to(torch.int64)),
        (of_packed(False, False), "weight_shape", lambda _: torch.tensor([-5, 64])),
        (of_packed(False, False), "weight_shape", lambda _: torch.tensor([OUT, 2 * IN])),
        (of_packed(False, False), "weight_shape", lambda _: torch.tensor([OUT])),
        (of_packed(False, False), "weight_packed", lambda tensor: tensor.to(torch.uint8)),
        (of_fp8((16, 16)), "weight", lambda tensor: tensor.to(torch.bfloat16)),
        (of_fp8((16, 16)), "weight_scale_inv", lambda tensor: tensor.repeat(2, 1)),
        (of_fp8((16, 16)), "weight_scale_inv", lambda tensor: tensor[:0]),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(case: Case, part: str, change: Callable[[Any], torch.Tensor]) -> None:
    config, tensors, _ = case
    with pytest.raises(ModelError, match=r"'a\.proj\.weight' of model 'model', quantised by .*do not fit"):
        layers(config, {**tensors, part: change(tensors[part])}).weight("a.proj.weight")


def test_an_order_that_is_told_and_not_there_is_refused() -> None:
    config, tensors, _ = of_gptq(4, 16, True, "gptq")
    del tensors["g_idx"]
    with pytest.raises(ModelError, match=r"\(desc_act, and 'a\.proj' has no g_idx\)"):
        layers(config, tensors).weight("a.proj.weight")


def test_the_last_group_may_be_shorter() -> None:
    """48 and 16 columns, not 32 and 32."""
    config, tensors, _ = of_gptq(4, 32, False, "gptq")
    del tensors["g_idx"]
    found = layers({**config, "group_size": 48}, tensors).weight("a.proj.weight")
    named = layers(config, {**tensors, "g_idx": torch.arange(IN) // 48}).weight("a.proj.weight")
    assert found is not None
    assert named is not None
    assert torch.equal(found, named)


def test_a_model_gives_the_logits_of_the_weights_it_stands_for(
    model_dir: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, quantised = (Path(shutil.copytree(model_dir("llama"), tmp_path / name)) for name in ("plain", "quantised"))
    weights: Tensors = load_file(plain / "model.safetensors")
    stored: Tensors = {}
    for name, weight in weights.items():
        if "_proj" not in name:
            stored[name] = weight
            continue
        scale = weight.abs().amax(1, keepdim=True) / 127
        numbers = (weight / scale).round().to(torch.int8)
        weights[name] = numbers.float() * scale
        stored |= {name: numbers, f"{name}_scale": scale}
    save_file(weights, plain / "model.safetensors", {"format": "pt"})
    save_file(stored, quantised / "model.safetensors", {"format": "pt"})
    config = json.loads((quantised / "config.json").read_text())
    told = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": told}))
    expected, starts = answered(plain, "off"), str(tmp_path / "starts")
    assert answered(quantised, starts) == expected
    assert "Weights quantised by compressed-tensors are brought to numbers" in caplog.text
    caplog.clear()
    assert answered(quantised, starts) == expected, "the second start builds the model without transformers"
    name = "model.layers.1.mlp.up_proj.weight"
    found = SafetensorsCheckpoint(str(quantised)).tensor(name)
    assert found is not None
    assert torch.equal(found, weights[name])


def answered(model: Path, starts: str) -> Any:
    """Tokens and their log-probabilities."""
    llm = LLM(str(model), kv_cache_memory_bytes=2**21, start_cache_dir=starts)
    params = SamplingParams(max_tokens=6, temperature=0.0, logprobs=3, ignore_eos=True)
    (output,) = llm.generate([{"prompt_token_ids": list(range(5, 40))}], params, use_tqdm=False)
    return output.outputs[0].token_ids, output.outputs[0].logprobs
