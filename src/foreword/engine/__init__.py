"""The engine: model, attention, runner, sampler, and the loop that turns requests into tokens. Needs torch."""

from foreword.engine.engine import Engine
from foreword.engine.engine_config import EngineConfig
from foreword.engine.llm import LLM
from foreword.engine.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from foreword.engine.sampling_params import SamplingParams
from foreword.engine.verify import VerifyReport

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
