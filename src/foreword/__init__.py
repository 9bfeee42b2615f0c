"""Foreword: an LLM inference engine whose centre is its prefix cache.

The names below are imported when first used: options, outputs and errors need neither torch nor NumPy, an engine needs both
(``pip install foreword[engine]``). What else is public: docs/reference/public.md.
"""

from typing import TYPE_CHECKING

from foreword import errors
from foreword.errors import ForewordError
from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.account import Account, MissReason
    from foreword.cache.marks import Mark
    from foreword.engine.async_llm import AsyncLLM
    from foreword.engine.config import EngineConfig
    from foreword.engine.llm import LLM
    from foreword.observe.explain import Explanation
    from foreword.outputs import CompletionOutput, RequestOutput
    from foreword.sampling_params import SamplingParams, StructuredOutputs

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "Account",
    "AsyncLLM",
    "CompletionOutput",
    "EngineConfig",
    "Explanation",
    "ForewordError",
    "Mark",
    "MissReason",
    "RequestOutput",
    "SamplingParams",
    "StructuredOutputs",
    "errors",
]
_HOMES = {
    "LLM": "engine.llm",
    "Account": "account",
    "AsyncLLM": "engine.async_llm",
    "CompletionOutput": "outputs",
    "EngineConfig": "engine.config",
    "Explanation": "observe.explain",
    "Mark": "cache.marks",
    "MissReason": "account",
    "RequestOutput": "outputs",
    "SamplingParams": "sampling_params",
    "StructuredOutputs": "sampling_params",
}
__getattr__ = lazy_exports(__name__, _HOMES)
