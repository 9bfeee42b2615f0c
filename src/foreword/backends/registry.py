"""The backends by name, and the options that all of them share. Imports no torch; making one does."""

from typing import TYPE_CHECKING, Any

from foreword.config import require

if TYPE_CHECKING:
    from foreword.backends.base import Backend

BACKENDS = ("cpu", "reference")
KV_DTYPES = ("float32", "bfloat16")
"""What keys and values can be kept in."""


def make_backend(name: str, block_size: int, kv_dtype: str = "float32", quantization: str = "none") -> "Backend[Any]":
    """A backend of BACKENDS. ConfigError for an option that it does not know, before any model is read."""
    require(name in BACKENDS, f"backend is {name!r}; known: {', '.join(BACKENDS)}.")
    require(kv_dtype in KV_DTYPES, f"kv_dtype is {kv_dtype!r}; known: {', '.join(KV_DTYPES)}.")
    from foreword.backends.base import BackendOptions

    options = BackendOptions(name, block_size, kv_dtype, quantization)
    if name == "reference":
        from foreword.backends.reference.backend import ReferenceBackend

        return ReferenceBackend(options)
    from foreword.backends.cpu.backend import CpuBackend

    return CpuBackend(options)
