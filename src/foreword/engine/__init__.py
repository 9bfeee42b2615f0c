"""The engine: model, attention, runner, sampler, and the loop that turns requests into tokens. Needs torch."""

from foreword.engine.config import EngineConfig
from foreword.engine.engine import Engine
from foreword.engine.llm import LLM
from foreword.engine.verify import VerifyReport
from foreword.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from foreword.sampling_params import SamplingParams

__all__ = [
    "LLM",
    "CompletionOutput",
    "Engine",
    "EngineConfig",
    "Logprob",
    "RequestMetrics",
    "RequestOutput",
    "SamplingParams",
    "VerifyReport",
]
