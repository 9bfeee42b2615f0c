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


class QuantisedLayers:
    """All quantised layers of some files. ModelError for what cannot be read, by the name of the quantisation or tensor."""

    def __init__(self, model: str, config: Mapping[str, Any], names: Collection[str], read: Read):
        """``config`` is what the model's configuration says of its quantisation; ``names`` are of all its tensors."""
        self._model, self._config, self._read = model, config, read
        self.method = str(config.get("quant_method", ""))
        if self.method not in METHODS:
            raise self._cannot(f"known are {', '.join(METHODS)}")
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
        except (RuntimeError, IndexError) as error:
            raise ModelError(
                f"Tensor {name!r} of model {self._model!r}, quantised by {self.method!r}, is made of tensors that do not "
                f"fit one another ({str(error).splitlines()[0]}). Check the files, or download them again."
            ) from error

    def _gptq(self, layer: str) -> torch.Tensor:
        bits = self._bits(self._config)
        numbers = unpacked(self._read(f"{layer}.qweight").T, bits)
        zeros = unpacked(self._read(f"{layer}.qzeros"), bits)
        if self._config.get("checkpoint_format", "gptq") == "gptq":
            zeros = zeros + 1
        return self._of_groups(layer, numbers, self._read(f"{layer}.scales").T, zeros.T, f"{layer}.g_idx")

    def _awq(self, layer: str) -> torch.Tensor:
        if self._config.get("version", "gemm") != "gemm":
            raise self._cannot(f"version {self._config['version']!r}, where 'gemm' is known")
        if self._bits(self._config) != 4:
            raise self._cannot(f"{self._bits(self._config)} bits, where 4 are known")
        words = (self._read(f"{layer}.{part}") for part in ("qweight", "qzeros"))
        numbers, zeros = (unpacked(each, 4).view(*each.shape, 8)[..., AWQ_ORDER].flatten(1) for each in words)
        return self._of_groups(layer, numbers.T, self._read(f"{layer}.scales").T, zeros.T, "")

    def _scaled(self, layer: str) -> torch.Tensor:
        """compressed-tensors and FP8."""
        if f"{layer}.weight_packed" in self._stored:
            return self._packed(layer)
        weight = self._read(f"{layer}.weight").float()
        if f"{layer}.weight_zero_point" in self._stored:
            weight = weight - _spread(self._read(f"{layer}.weight_zero_point").float(), weight.shape, None)
        part = "weight_scale_inv" if f"{layer}.weight_scale_inv" in self._stored else "weight_scale"
        scale = self._read(f"{layer}.{part}").float()
        return weight * _spread(scale, weight.shape, self._config.get("weight_block_size"))

    def _packed(self, layer: str) -> torch.Tensor:
        groups = [group.get("weights") or {} for group in (self._config.get("config_groups") or {}).values()]
        bits = {self._bits({"bits": group.get("num_bits")}) for group in groups}
        if len(bits) != 1:
            raise self._cannot("groups of layers of different kinds")
        (count,) = bits
        half = 1 << (count - 1)
        rows, columns = (int(size) for size in self._read(f"{layer}.weight_shape"))
        numbers = unpacked(self._read(f"{layer}.weight_packed"), count)[:rows, :columns] - half
        scales = self._read(f"{layer}.weight_scale")
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        if f"{layer}.weight_zero_point" in self._stored:
            zeros = unpacked(self._read(f"{layer}.weight_zero_point").T, count).T[:rows] - half
        return self._of_groups(layer, numbers, scales, zeros, f"{layer}.weight_g_idx")

    def _of_groups(
        self, layer: str, numbers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, index: str
    ) -> torch.Tensor:
        """Numbers [out, in] with a scale and a zero [out, groups] a group of columns: which group is neighbours', or said by
        the tensor ``index`` (act-order)."""
        groups, columns = scales.shape[1], numbers.shape[1]
        if index in self._stored:
            group = self._read(index).long()
        elif columns % groups:
            raise self._cannot(f"{columns} columns of {layer!r} in {groups} groups")
        else:
            group = torch.arange(columns) // (columns // groups)
        return (numbers - zeros[:, group]).float() * scales.float()[:, group]

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
    """Whole numbers without sign, int32 [rows, n · 32 / bits], of words [rows, n], the lowest bits first."""
    shifts = torch.arange(0, 32, bits)
    return ((words.to(torch.int64)[..., None] >> shifts) & ((1 << bits) - 1)).flatten(1).to(torch.int32)


def _spread(scale: torch.Tensor, shape: torch.Size, block: list[int] | None) -> torch.Tensor:
    """A scale of all numbers, of rows, or of blocks, as it is multiplied with a weight of ``shape``."""
    if scale.numel() == 1:
        return scale.reshape(1, 1)
    if scale.ndim == 1:
        return scale[:, None]
    for at, size in enumerate(shape):
        each = block[at] if block else size // scale.shape[at]
        scale = scale.repeat_interleave(max(1, each), at).narrow(at, 0, size)
    return scale
