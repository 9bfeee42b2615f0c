"""Any number of threads, however it is asked for, and a processor without wide vectors: right answers, and a clear log.

Each case is a process of its own, because the libraries read the environment when they are loaded.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

CASE = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
model, vectors, options = sys.argv[1:]
if vectors == "none":
    import llvmlite.binding as llvm
    llvm.get_host_cpu_name = lambda: "x86-64"
    llvm.get_host_cpu_features = llvm.FeatureMap
import torch
from foreword import LLM, SamplingParams
from foreword.engine import EngineConfig
from foreword.engine.build import make_parts
from foreword.engine.llm import LLMOverEngine
found = {}
prompts = [{"prompt_token_ids": [5 + (7 * n + at) % 300 for at in range(40 + 9 * n)]} for n in range(3)]
for cache in (True, False):
    config = EngineConfig(model, kv_cache_memory_bytes=2**21, enable_prefix_caching=cache, **json.loads(options))
    parts = make_parts(config)
    llm = LLMOverEngine(parts.engine())
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, logprobs=3)
    outputs = [answer.outputs[0] for answer in llm.generate(2 * prompts, params, use_tqdm=False)]
    found[cache] = [[o.token_ids, [{t: p.logprob for t, p in at.items()} for at in o.logprobs]] for o in outputs]
print(json.dumps({
    "same": found[True] == found[False],
    "answers": found[True],
    "passed": parts.self_test.passed,
    "threads": torch.get_num_threads(),
}))
"""


def run(model: str, environment: dict[str, str], vectors: str = "as they are", **options: Any) -> tuple[dict[str, Any], str]:
    """What a case found, and its log."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-c", CASE, model, vectors, json.dumps(options)]
    env = inherited | {"OMP_WAIT_POLICY": "passive"} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def usual(model_dir: Callable[..., str]) -> list[Any]:
    """Tokens and logprobs with one thread."""
    found, _ = run(model_dir("llama"), {"OMP_NUM_THREADS": "1"})
    assert found["threads"] == 1
    assert found["same"]
    assert found["passed"]
    return found["answers"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("threads", ["2", "0", "-1", "64", "abc"])
def test_any_number_of_threads(model_dir: Callable[..., str], usual: list[Any], threads: str) -> None:
    """OpenMP takes a number that it cannot use for none."""
    found, log = run(model_dir("llama"), {"OMP_NUM_THREADS": threads})
    assert found["same"]
    assert found["passed"]
    assert found["answers"] == usual
    count = found["threads"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads == "2":
        assert count == 2
    assert f"{count} thread" in log
    assert (f"more threads than processors ({cores})" in log) == (count > cores)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_a_processor_without_wide_vectors(model_dir: Callable[..., str], quantization: str) -> None:
    """Our kernels are compiled for the oldest 64-bit processor, and the libraries told to do as on one without AVX."""
    environment = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1"}
    found, log = run(model_dir("llama"), environment, vectors="none", quantization=quantization)
    assert found["same"]
    assert found["passed"]
    assert "kernels for x86-64 (no instructions chosen)" in log
