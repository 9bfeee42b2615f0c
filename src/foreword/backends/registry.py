"""The backends by name, and the options that all of them share. Imports no torch; making one does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreword.config import require

if TYPE_CHECKING:
    from foreword.backends.base import Backend

BACKENDS = ("cpu", "reference")
KV_DTYPES = ("float32", "bfloat16", "int8")
"""What keys and values can be kept in."""


def make_backend(
    name: str,
    block_size: int,
    kv_dtype: str = "float32",
    quantization: str = "none",
    kernel_folder: Path | None = None,
    kernel_path: str = "auto",
    activation_bits: int = 8,
) -> "Backend[Any]":
    """A backend of BACKENDS, that keeps compiled kernels in ``kernel_folder`` if it has any. ConfigError for an option that
    it does not know, before any model is read."""
    require(name in BACKENDS, f"backend is {name!r}; known: {', '.join(BACKENDS)}.")
    require(kv_dtype in KV_DTYPES, f"kv_dtype is {kv_dtype!r}; known: {', '.join(KV_DTYPES)}.")
    from foreword.backends.base import BackendOptions

    options = BackendOptions(name, block_size, kv_dtype, quantization, activation_bits, kernel_path, kernel_folder)
    if name == "reference":
        from foreword.backends.reference.backend import ReferenceBackend

        return ReferenceBackend(options)
    from foreword.backends.cpu.backend import CpuBackend

    return CpuBackend(options)


def cache_folder(option: str | None, environment: Mapping[str, str], name: str) -> Path | None:
    """What the option of a folder stands for: ``off`` is none, None is foreword/NAME in the user's cache folder."""
    if option is not None:
        return None if option == "off" else Path(option).expanduser()
    cache = Path(environment.get("XDG_CACHE_HOME", ""))
    home = Path(environment.get("HOME", "~")).expanduser()
    return (cache if cache.is_absolute() else home / ".cache") / "foreword" / name
