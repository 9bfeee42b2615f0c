"""The engine: the loop that turns requests into tokens, and its two fronts, LLM and AsyncLLM.

The names below are loaded when first used: the loop, its records and its protocols need no torch, a model does.
"""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.engine.async_llm import AsyncEngine, AsyncLLM
    from foreword.engine.build import build_engine
    from foreword.engine.config import EngineConfig
    from foreword.engine.engine import Engine
    from foreword.engine.info import EngineInfo, EngineState
    from foreword.engine.llm import LLM
    from foreword.engine.request import ChoiceProgress, EngineRequest, Progress
    from foreword.engine.runner import Runner
    from foreword.engine.verify import VerifyReport
    from foreword.outputs import ChoiceDelta, CompletionOutput, Delta, Logprob, RequestMetrics, RequestOutput
    from foreword.sampling_params import SamplingParams

_HOMES = {
    "LLM": "engine.llm",
    "AsyncEngine": "engine.async_llm",
    "AsyncLLM": "engine.async_llm",
    "ChoiceDelta": "outputs",
    "ChoiceProgress": "engine.request",
    "CompletionOutput": "outputs",
    "Delta": "outputs",
    "Engine": "engine.engine",
    "EngineConfig": "engine.config",
    "EngineInfo": "engine.info",
    "EngineRequest": "engine.request",
    "EngineState": "engine.info",
    "Logprob": "outputs",
    "Progress": "engine.request",
    "RequestMetrics": "outputs",
    "RequestOutput": "outputs",
    "Runner": "engine.runner",
    "SamplingParams": "sampling_params",
    "VerifyReport": "engine.verify",
    "build_engine": "engine.build",
}
__all__ = [
    "LLM",
    "AsyncEngine",
    "AsyncLLM",
    "ChoiceDelta",
    "ChoiceProgress",
    "CompletionOutput",
    "Delta",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "EngineRequest",
    "EngineState",
    "Logprob",
    "Progress",
    "RequestMetrics",
    "RequestOutput",
    "Runner",
    "SamplingParams",
    "VerifyReport",
    "build_engine",
]

__getattr__ = lazy_exports(__name__, _HOMES)
