"""What blocks of weights stand for, by ggml's own definition: for what has no kernels, for embeddings, and for tests."""

import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

NUMBERS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
"""Formats that are numbers already."""


def dequantized(rows: torch.Tensor, format: str) -> torch.Tensor:
    """Stored rows, uint8 [rows, bytes], of a format by ggml's name in small letters → [rows, weights] in float32; numbers
    stay in the kind that they are. NotImplementedError for a format that the package ``gguf`` cannot read."""
    if format in NUMBERS:
        return rows.view(NUMBERS[format])
    return torch.from_numpy(dequantize(rows.numpy(), GGMLQuantizationType[format.upper()]))


def weights_of(row_bytes: int, format: str) -> int:
    """How many weights a row of so many bytes has."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[format.upper()]]
    return row_bytes // size * block
