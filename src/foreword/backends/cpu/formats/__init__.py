"""Weight formats, one file each, found by the files' names. A format is loaded when it is first asked for.

A file ``NAME.py`` defines ``make``: from a target, and the bits that rows are brought to if the format multiplies whole
numbers, to a WeightFormat of that name; nothing else has to be told of it. Formats
that GGUF files store have ggml's names in small letters (``q4_k`` for Q4_K), and are packed from rows of its blocks.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foreword.backends.cpu.kernels.dots import Bits
    from foreword.backends.cpu.kernels.target import Target
    from foreword.backends.cpu.weight_format import WeightFormat

PLAIN = "float32"
"""The format of a model that is not quantised."""
FORMATS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
QUANTIZATIONS = ("none", *FORMATS)
"""Values of the option ``quantization``."""


def weight_format(quantization: str, target: "Target", activation_bits: "Bits" = 8) -> "WeightFormat":
    """The format that an option of QUANTIZATIONS, or a name of FORMATS, stands for, with kernels for a target and for rows
    of so many bits."""
    name = PLAIN if quantization == "none" else quantization
    format: WeightFormat = importlib.import_module(f"{__name__}.{name}").make(target, activation_bits)
    return format
