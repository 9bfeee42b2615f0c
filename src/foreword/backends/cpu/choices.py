"""What the CPU backend can be asked for by name; it needs torch, as the names are those of the parts themselves."""

from foreword.backends.cpu.attention import BACKENDS
from foreword.backends.cpu.kernels.attention import TILE
from foreword.backends.cpu.kv_memory import KV_DTYPES
from foreword.backends.cpu.packed_linear import QUANTIZATIONS
from foreword.config import require


def check_choices(attention: str, quantization: str, kv_dtype: str, block_size: int) -> None:
    """ConfigError for a name that this backend does not have, or a block that does not divide its tile."""
    require(quantization in QUANTIZATIONS, f"quantization is {quantization!r}; known: {', '.join(QUANTIZATIONS)}.")
    require(kv_dtype in KV_DTYPES, f"kv_dtype is {kv_dtype!r}; known: {', '.join(KV_DTYPES)}.")
    require(attention in BACKENDS, f"attention is {attention!r}; known backends: {', '.join(BACKENDS)}.")
    require(TILE % block_size == 0, f"block_size is {block_size}; it must divide {TILE}: 1, 2, 4, ... {TILE}.")
