"""Layers of safetensors that another program has quantised, GPTQ, AWQ, compressed-tensors or FP8: what they stand for.

One layer is several tensors, whole numbers or 8-bit floats and scales. They are brought to float32, and computed with in
what Foreword was asked for.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from foreword.errors import ModelError

Read = Callable[[str], torch.Tensor]
"""The tensor of a name."""
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word of AWQ's the numbers of eight neighbours are."""
PACKED_BITS = (4, 8)
PARTS = ("weight_scale_inv", "weight_scale", "weight_zero_point", "weight_g_idx", "weight_shape", "input_scale",
         "input_zero_point", "qzeros", "scales", "g_idx")  # fmt: skip
"""What belongs to a layer's weight, by the end of its name."""
MAIN = {"gptq": "qweight", "awq": "qweight"}
"""What a layer's numbers are called, where that is not ``weight`` or ``weight_packed``."""
METHODS = ("gptq", "awq", "compressed-tensors", "fp8", "fbgemm_fp8")
LAID_OUT: dict[str, dict[str, tuple[Any, ...]]] = {
    "gptq": {
        "checkpoint_format": (None, "gptq", "gptq_v2"),
        "pack_dtype": (None, "int32"),
        "is_marlin_format": (None, False),
    },
    "awq": {"version": (None, "gemm", "GEMM")},
    "compressed-tensors": {
        "format": (None, "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized"),
        "transform_config": (None, {}),
    },
}
"""What a method's configuration says of how tensors are laid out, by its key: with other values it is another way."""
OF_PACKED = ("num_bits", "type", "symmetric", "group_size", "actorder")
"""What compressed-tensors says of a group's weights that the layout of packed ones depends on."""
WHOLE_OR_8_BIT = (torch.int8, torch.float8_e4m3fn, torch.float8_e5m2)


class QuantisedLayers:
    """All quantised layers of some files. ModelError for what cannot be read, by the name of the quantisation or tensor."""

    def __init__(self, model: str, config: Mapping[str, Any], names: Collection[str], read: Read):
        """``config`` is what the model's configuration says of its quantisation; ``names`` are of all its tensors."""
        self._model, self._config, self._read = model, config, read
        self.method = str(config.get("quant_method", ""))
        if self.method not in METHODS:
            raise self._cannot(f"known are {', '.join(METHODS)}")
        for key, known in LAID_OUT.get(self.method, {}).items():
            if config.get(key) not in known:
                raise self._cannot(f"{key} {str(config[key])[:60]!r}, where {known[1:]} are known")
        self._groups = self._told_of_groups()
        self._weight = {"gptq": self._gptq, "awq": self._awq}.get(self.method, self._scaled)
        self._stored = set(names)
        ends = (MAIN[self.method],) if self.method in MAIN else ("weight", "weight_packed")
        found = {name.rpartition(".")[0] for name in names if name.endswith(PARTS)}
        self._layers = {layer for layer in found if any(f"{layer}.{end}" in self._stored for end in ends)}
        self.parts = {f"{layer}.{part}" for layer in self._layers for part in (*PARTS, "qweight", "weight_packed", "weight")}
        """Names of tensors that are brought to others, or were."""

    @property
    def names(self) -> set[str]:
        """Of the model's tensors as if it had not been quantised."""
        return (self._stored - self.parts) | {f"{layer}.weight" for layer in self._layers}

    def weight(self, name: str) -> torch.Tensor | None:
        """A layer's weight, float32 [out, in]; None for a tensor that was not quantised."""
        layer = name.removesuffix(".weight")
        if layer == name or layer not in self._layers:
            return None
        try:
            return self._weight(layer)
        except ModelError:
            raise
        except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
            raise ModelError(
                f"Tensor {name!r} of model {self._model!r}, quantised by {self.method!r}, is made of tensors that do not "
                f"fit one another, or what the configuration says ({str(error).splitlines()[0]}). Check the files, or "
                f"download them again."
            ) from error

    def _gptq(self, layer: str) -> torch.Tensor:
        bits = self._bits(self._config)
        if self._config.get("desc_act") and f"{layer}.g_idx" not in self._stored:
            raise self._cannot(f"desc_act, and {layer!r} has no g_idx")
        numbers = unpacked(self._words(f"{layer}.qweight").T, bits)
        zeros = unpacked(self._words(f"{layer}.qzeros"), bits)
        if self._config.get("checkpoint_format") in (None, "gptq"):
            zeros = zeros + 1
        size, scales = self._config.get("group_size"), self._read(f"{layer}.scales").T
        return self._of_groups(layer, numbers, scales, zeros.T, size, f"{layer}.g_idx")

    def _awq(self, layer: str) -> torch.Tensor:
        if self._bits(self._config) != 4:
            raise self._cannot(f"{self._bits(self._config)} bits, where 4 are known")
        words = (self._words(f"{layer}.{part}") for part in ("qweight", "qzeros"))
        numbers, zeros = (unpacked(each, 4).view(*each.shape, 8)[..., AWQ_ORDER].flatten(1) for each in words)
        size = self._config.get("group_size")
        return self._of_groups(layer, numbers.T, self._read(f"{layer}.scales").T, zeros.T, size, "")

    def _scaled(self, layer: str) -> torch.Tensor:
        """compressed-tensors and FP8."""
        if f"{layer}.weight_packed" in self._stored:
            return self._packed(layer)
        weight = self._read(f"{layer}.weight")
        if weight.dtype not in WHOLE_OR_8_BIT or weight.ndim != 2:
            raise ValueError(f"weight is {weight.dtype} of {weight.ndim} dimensions, and has a scale")
        told = self._groups[0].get("block_structure") if len(self._groups) == 1 else None
        block = self._config.get("weight_block_size") or told
        part = "weight_scale_inv" if f"{layer}.weight_scale_inv" in self._stored else "weight_scale"
        scale = spread(self._read(f"{layer}.{part}").float(), weight.shape, block)
        if f"{layer}.weight_zero_point" not in self._stored:
            self._refuse_without_zeros(layer)
            return weight.float() * scale
        return (weight.float() - spread(self._read(f"{layer}.weight_zero_point").float(), weight.shape, None)) * scale

    def _packed(self, layer: str) -> torch.Tensor:
        told = self._groups[0] if self._groups else {}
        if any(each.get(key) != told.get(key) for each in self._groups for key in OF_PACKED):
            raise self._cannot("groups of layers of different kinds")
        count = self._bits({"bits": told.get("num_bits")})
        if told.get("type", "int") != "int":
            raise self._cannot(f"packed numbers of type {told['type']!r}")
        half = 1 << (count - 1)
        rows, columns = (int(size) for size in self._read(f"{layer}.weight_shape"))
        numbers = unpacked(self._words(f"{layer}.weight_packed"), count)[:rows, :columns] - half
        if numbers.shape != (rows, columns):
            raise ValueError(f"weight_shape is {rows} by {columns}")
        scales, index = self._read(f"{layer}.weight_scale"), f"{layer}.weight_g_idx"
        if told.get("actorder") in (True, "group") and index not in self._stored:
            raise self._cannot(f"actorder, and {layer!r} has no weight_g_idx")
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        if f"{layer}.weight_zero_point" in self._stored:
            zeros = unpacked(self._words(f"{layer}.weight_zero_point").T, count).T[:rows] - half
        else:
            self._refuse_without_zeros(layer)
        return self._of_groups(layer, numbers, scales, zeros, told.get("group_size"), index)

    def _told_of_groups(self) -> list[dict[str, Any]]:
        """What compressed-tensors says of the weights of each group of layers."""
        groups = self._config.get("config_groups") or {}
        told = list(groups.values()) if isinstance(groups, dict) else [groups]
        weights = [each.get("weights") or {} if isinstance(each, dict) else each for each in told]
        if not all(isinstance(each, dict) for each in weights):
            raise self._cannot(f"config_groups {str(groups)[:60]!r} are not known")
        return weights

    def _refuse_without_zeros(self, layer: str) -> None:
        if self._groups and all(each.get("symmetric") is False for each in self._groups):
            raise self._cannot(f"not symmetric, and {layer!r} has no weight_zero_point")

    def _of_groups(
        self, layer: str, numbers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, size: int | None, index: str
    ) -> torch.Tensor:
        """Numbers [out, in] with a scale and a zero [out, groups] a group of columns: ``size`` neighbours, or as the tensor
        ``index`` says (act-order)."""
        groups, columns = scales.shape[1], numbers.shape[1]
        if index in self._stored:
            group = self._read(index).long()
            if group.shape != (columns,) or bool((group < 0).any()):
                raise ValueError(f"{index.rpartition('.')[2]} does not name a group for each column")
        else:
            size = size if size and size > 0 else columns // groups
            if -(-columns // size) != groups:
                raise self._cannot(f"{columns} columns of {layer!r} in {groups} groups of {size}")
            group = torch.arange(columns) // size
        return (numbers - zeros[:, group]).float() * scales.float()[:, group]

    def _words(self, name: str) -> torch.Tensor:
        """Packed numbers, int32 [rows, n]. ValueError for other tensors."""
        words = self._read(name)
        if words.dtype != torch.int32 or words.ndim != 2:
            raise ValueError(f"{name.rpartition('.')[2]} is {words.dtype} of {words.ndim} dimensions, not int32 of 2")
        return words

    def _bits(self, config: Mapping[str, Any]) -> int:
        bits = config.get("bits")
        if bits not in PACKED_BITS:
            raise self._cannot(f"{bits} bits, where {' and '.join(map(str, PACKED_BITS))} are known")
        return int(bits)

    def _cannot(self, why: str) -> ModelError:
        return ModelError(
            f"Model {self._model!r} is quantised by {self.method!r} in a way that cannot be read ({why}). Take the model "
            f"unquantised, or as a GGUF file."
        )


def unpacked(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Whole numbers without sign, int32 [rows, n · 32 / bits], of words, int32 [rows, n], the lowest bits first."""
    shifts = torch.arange(0, 32, bits)
    return ((words.to(torch.int64)[..., None] >> shifts) & ((1 << bits) - 1)).flatten(1).to(torch.int32)


def spread(scale: torch.Tensor, shape: torch.Size, block: list[int] | None) -> torch.Tensor:
    """A scale of all numbers, of rows, or of blocks, as it is multiplied with a weight of ``shape``. ValueError for scales
    of another shape."""
    if scale.numel() == 1:
        return scale.reshape(1, 1)
    if scale.ndim == 1:
        scale = scale[:, None]
    sizes = block or [size // count for size, count in zip(shape, scale.shape, strict=True)]
    if any(-(-size // each) != count for size, each, count in zip(shape, sizes, scale.shape, strict=True)):
        raise ValueError(f"scales of shape {list(scale.shape)} for weights of shape {list(shape)} in blocks of {sizes}")
    for at, size in enumerate(shape):
        scale = scale.repeat_interleave(sizes[at], at).narrow(at, 0, size)
    return scale
