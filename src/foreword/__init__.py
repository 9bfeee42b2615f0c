"""Foreword: an LLM inference engine whose centre is its prefix cache.

The names below need the engine (``pip install foreword[engine]``); they are loaded when first used, so that the cache and
the prompt tools can be imported without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from foreword import errors
from foreword.errors import ForewordError

if TYPE_CHECKING:
    from foreword.engine import LLM, CompletionOutput, RequestOutput, SamplingParams

__version__ = "0.1.0"
__all__ = ["LLM", "CompletionOutput", "ForewordError", "RequestOutput", "SamplingParams", "errors"]
_FROM_ENGINE = {"LLM", "CompletionOutput", "RequestOutput", "SamplingParams"}


def __getattr__(name: str) -> Any:
    if name not in _FROM_ENGINE:
        raise AttributeError(f"module 'foreword' has no attribute {name!r}")
    try:
        engine = importlib.import_module("foreword.engine")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("foreword"):
            raise
        raise ImportError(
            f"foreword.{name} needs the package {error.name!r}: install the engine with  pip install 'foreword[engine]'"
        ) from error
    return getattr(engine, name)
