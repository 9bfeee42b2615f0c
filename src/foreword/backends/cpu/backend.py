"""The CPU backend: our own kernels, weights packed in any format, tiled attention over panels of KV. Bit-identical."""

import logging
from collections.abc import Callable, Iterator, Sequence

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
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.cpu.attention.tiles import SEGMENT
from foreword.backends.cpu.cpu_info import idle_threads, processors
from foreword.backends.cpu.decoder_stack import replace_layers
from foreword.backends.cpu.formats import FORMATS, QUANTIZATIONS, weight_format
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.softmax import TILE
from foreword.backends.cpu.kernels.target import Target, targets
from foreword.backends.cpu.kernels.warm_up import compile_all
from foreword.backends.cpu.kv_memory import PanelMemory, block_bytes
from foreword.backends.cpu.packed_linear import WITHOUT_KERNELS, LinearPacker, PackedLinear
from foreword.backends.cpu.path_check import differs
from foreword.backends.cpu.process_memory import give_back_freed_memory, keep_freed_memory, put_in_huge_pages
from foreword.backends.host import host_memory, threads_in_words, torch_numerics
from foreword.backends.kept_files import KeptFiles
from foreword.config import require
from foreword.errors import ModelError

logger = logging.getLogger("foreword")


def _bits(activation_bits: int) -> Bits:
    require(activation_bits in (8, 16), f"activation_bits is {activation_bits}; it is 8 or 16.")
    return 8 if activation_bits == 8 else 16


class CpuBackend:
    """See Backend."""

    def __init__(self, options: BackendOptions, differs: Callable[[Target, str, Bits], bool] = differs):
        """ConfigError for a block size that does not divide a tile of attention, a quantization that nobody knows, other
        bits of activations than 8 and 16, or a path that the processor has not. ``differs`` tells whether a path computes a
        format wrongly."""
        size, quantization = options.block_size, options.quantization
        require(size >= 1 and TILE % size == 0, f"block_size is {size}; it must divide {TILE}: 1, 2, 4, ... {TILE}.")
        require(quantization in QUANTIZATIONS, f"quantization is {quantization!r}; known: {', '.join(QUANTIZATIONS)}.")
        self.options = options
        self._kv_dtype: torch.dtype = getattr(torch, options.kv_dtype)
        self._bits = _bits(options.activation_bits)
        self._targets, self._differs = targets(options.kernel_path), differs
        self._objects = None if options.kernel_folder is None else KeptFiles(options.kernel_folder)
        self._use(self._targets[0])

    def _use(self, target: Target) -> None:
        """Compute on this path from now on."""
        self._target = target
        self.attention = TiledAttention(target)
        self._format = weight_format(self.options.quantization, target, self._bits)
        self._formats, self._weight_bits = self._format.name, float(self._format.bits)

    def warm_up(self) -> None:
        """See Backend."""
        self._format.compile(self._objects)
        compile_all(self._target, self._kv_dtype, self._objects)

    def prepare(self, module: nn.Module, probed: list[ProbedLayer], source: WeightSource) -> bool:
        """See Backend. Layers of the common shape become one program, all linear layers are packed."""
        without = sorted({format for format in source.block_formats().values() if format not in FORMATS})
        if without and self.options.quantization == "none":
            logger.warning(
                "Weights stored as %s are brought to %s: there are no kernels for them.", ", ".join(without), WITHOUT_KERNELS
            )
        self._leave_wrong_paths({self._format.name, *source.block_formats().values()} & set(FORMATS))
        packer = LinearPacker(module, self.options.quantization, source, self._target, self._bits)
        replaced = False
        for _ in replace_layers(module, probed, packer, self.attention):
            replaced = True
            source.release_pages()
        probed.clear()
        for _ in packer.pack_all(module):
            source.release_pages()
        packer.pack_matrices(module)
        self._note_formats(module)
        give_back_freed_memory()
        put_in_huge_pages(_packed_spans(module))
        keep_freed_memory()
        return replaced

    def _leave_wrong_paths(self, names: set[str]) -> None:
        """Go on to the first path that computes these formats as they should be. ModelError where none does."""
        for target in self._targets:
            for name in names:
                weight_format(name, target, self._bits).compile(self._objects)
            wrong = sorted(name for name in names if self._differs(target, name, self._bits))
            if not wrong:
                if target != self._target:
                    self._use(target)
                return
            logger.warning("%s compute weights in %s wrongly on this machine, and are left.", target.words, ", ".join(wrong))
        raise ModelError(f"No kernels compute weights in {', '.join(sorted(names))} rightly on this machine.")

    def _note_formats(self, module: nn.Module) -> None:
        """What linear layers are packed in, for the description."""
        packed = {child.format.name: child.format for child in module.modules() if isinstance(child, PackedLinear)}
        layers = self.linear_layers(module)
        if packed:
            self._formats = ", ".join(sorted(packed))
            weights = sum(layer.in_features * layer.out_features for layer in layers)
            self._weight_bits = 8 * sum(layer.weight_bytes for layer in layers) / weights

    def linear_layers(self, module: nn.Module) -> list[LinearLayer]:
        """See Backend. Layers that are computed together are one."""
        found = []
        for name, child in module.named_modules():
            if isinstance(child, PackedLinear) or type(child) is nn.Linear:
                bits = child.format.bits if isinstance(child, PackedLinear) else 32
                inside, outside = child.in_features, child.out_features
                found.append(LinearLayer(name, child, inside, outside, int(inside * outside * bits / 8)))
        return found

    def linear(self, weight: torch.Tensor) -> nn.Module:
        """See Backend."""
        return PackedLinear(self._format, self._format.pack(weight), None)

    def make_memory(self, layers: Sequence[LayerShape], num_blocks: int) -> PanelMemory:
        """See Backend."""
        return PanelMemory(self._target, layers, num_blocks, self.options.block_size, self._kv_dtype)

    def block_bytes(self, layers: Sequence[LayerShape]) -> int:
        """See Backend."""
        return block_bytes(layers, self.options.block_size, self._kv_dtype)

    def device_memory(self) -> DeviceMemory:
        """The machine's."""
        return host_memory()

    def describe(self) -> Description:
        """See Backend. A row's sums have one order, in any number of threads; torch computes what is not ours."""
        finer = ", rows in 16 bits" if self._bits == 16 else ""
        words = (
            f"{self._target.words}, linear layers in {self._formats}{finer}, attention {self.attention.name!r}, "
            f"{threads_in_words()}"
        )
        warning = idle_threads(torch.get_num_threads(), processors())
        numerics = Numerics(f"tiles of {TILE} in segments of {SEGMENT}", torch_numerics())
        return Description(words, self._weight_bits, numerics, () if warning is None else (warning,))


def _packed_spans(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Where the packed weights of a model are, and of how many bytes."""
    for child in module.modules():
        if isinstance(child, PackedLinear):
            for part in child.packed.parts:
                yield part.data_ptr(), part.nbytes
