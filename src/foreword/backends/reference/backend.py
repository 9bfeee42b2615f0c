"""The reference backend: torch alone, every part written down plainly. Slow, and its bits depend on the batch."""

from collections.abc import Sequence

import torch
from torch import nn

from foreword.backends.base import (
    BackendOptions,
    Description,
    DeviceMemory,
    LayerShape,
    LinearLayer,
    Numerics,
    ProbedLayer,
    WeightSource,
)
from foreword.backends.host import host_memory, threads_in_words, torch_numerics
from foreword.backends.reference.attention import ReferenceAttention
from foreword.backends.reference.kv_memory import RowMemory, scale_bytes
from foreword.config import require


class ReferenceBackend:
    """The model as transformers wrote it, in float32. See Backend."""

    def __init__(self, options: BackendOptions):
        """ConfigError for a block of no tokens, and for a quantization: this backend has none."""
        require(options.block_size >= 1, f"block_size is {options.block_size}; minimum 1.")
        require(
            options.quantization == "none",
            f"quantization is {options.quantization!r}, but backend {options.name!r} computes in float32 only; use backend "
            f"'cpu'.",
        )
        require(
            options.activation_bits == BackendOptions.activation_bits,
            f"activation_bits is {options.activation_bits}, but backend {options.name!r} has no kernels; use backend 'cpu'.",
        )
        require(
            options.kernel_path == "auto",
            f"kernel_path is {options.kernel_path!r}, but backend {options.name!r} has no kernels; use backend 'cpu'.",
        )
        self.options = options
        self.attention = ReferenceAttention()
        self._kv_dtype: torch.dtype = getattr(torch, options.kv_dtype)

    def warm_up(self) -> None:
        """Nothing is compiled."""

    def prepare(self, module: nn.Module, probed: list[ProbedLayer], source: WeightSource) -> bool:  # noqa: ARG002
        """The model stays as it is."""
        probed.clear()
        return False

    def linear_layers(self, module: nn.Module) -> list[LinearLayer]:
        """See Backend."""
        return [
            LinearLayer(name, child, child.in_features, child.out_features, 4 * child.in_features * child.out_features)
            for name, child in module.named_modules()
            if isinstance(child, nn.Linear)
        ]

    def linear(self, weight: torch.Tensor) -> nn.Module:
        """See Backend."""
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight, requires_grad=False)
        return layer

    def make_memory(self, layers: Sequence[LayerShape], num_blocks: int) -> RowMemory:
        """See Backend."""
        return RowMemory(layers, num_blocks, self.options.block_size, self._kv_dtype)

    def block_bytes(self, layers: Sequence[LayerShape]) -> int:
        """See Backend."""
        scales = 2 * scale_bytes(self._kv_dtype)
        numbers = sum(layer.heads * (layer.key_size + layer.value_size + scales) for layer in layers)
        return numbers * self.options.block_size * self._kv_dtype.itemsize

    def device_memory(self) -> DeviceMemory:
        """The machine's."""
        return host_memory()

    def describe(self) -> Description:
        """See Backend."""
        numerics = Numerics("torch", torch_numerics())
        return Description(f"torch alone, the plain reference, {threads_in_words()}", 32, numerics)
