"""Foreword for the peers harness, which drives every engine through one interface.

    PYTHONPATH=src python PEERS/run.py benchmarks/foreword_adapter.py float32 w1,w2,w3,w4 --model MODEL --repeat 3
    PYTHONPATH=src python PEERS/run.py benchmarks/foreword_adapter.py gguf w1 --model FILE.gguf

The harness puts its own folder on the path, so that ``api`` is its module of that name.
"""

import os
import time
from typing import Any

import torch
import transformers

from foreword.engine import EngineConfig, EngineRequest, SamplingParams
from foreword.engine.build import make_parts
from foreword.engine.generation import Generation
from foreword.tokens import pack_tokens

CACHE_GIB = float(os.environ.get("CACHE_GIB", "6"))
"""Memory for KV; the other adapters take as much."""
BATCHED_TOKENS = int(os.environ.get("BATCHED_TOKENS", "0")) or EngineConfig.max_num_batched_tokens
"""Tokens a step; Foreword's own default unless the environment says otherwise."""


KV_DTYPE = os.environ.get("KV_DTYPE", EngineConfig.kv_dtype)
"""What keys and values are kept in."""
DRAFT = os.environ.get("DRAFT", "off")
"""Other engines draft only where they are told to; random models repeat themselves, which drafts would make look quick."""
PRECISIONS = {"float32": "none", "gguf": "none"}
"""The harness's names, where ours for linear layers are others; a GGUF file has its own formats."""


class Adapter:
    """An Engine, driven step by step."""

    def __init__(self, model_dir: str, precision: str, prefix_caching: bool):
        torch.set_num_threads(2)
        self.config = EngineConfig(
            model=model_dir,
            quantization=PRECISIONS.get(precision, precision),
            kv_dtype=KV_DTYPE,
            draft=DRAFT,
            enable_prefix_caching=prefix_caching,
            kv_cache_memory_bytes=int(CACHE_GIB * 2**30),
            max_num_batched_tokens=BATCHED_TOKENS,
        )
        parts = make_parts(self.config)
        self.engine, self_test = parts.engine(), parts.self_test
        self.info = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "backend": self.config.backend,
            "block_size": self.config.block_size,
            "cache_gib": CACHE_GIB,
            "kv_dtype": KV_DTYPE,
            "draft": DRAFT,
            "max_num_batched_tokens": BATCHED_TOKENS,
            "self_test_passed": self_test is not None and self_test.passed,
        }

    def run(self, requests: list[Any]) -> list[Any]:
        """Submit all requests together, step until all are done; results in the order of the requests."""
        from api import Result  # type: ignore[import-not-found]

        start = time.perf_counter()
        results: dict[Generation, Result] = {}
        for request in requests:
            params = SamplingParams(temperature=0.0, max_tokens=request.n_out, ignore_eos=True)
            results[self.engine.add_request(EngineRequest(pack_tokens(request.prompt), params))] = Result(0.0, 0.0, [])
        while self.engine.has_unfinished_requests():
            for generation in self.engine.step().news:
                now = time.perf_counter() - start
                if generation.error is not None:
                    raise generation.error
                result = results[generation]
                if not result.ttft:
                    result.ttft = now
                if generation.finished:
                    output = generation.output()
                    result.finish = now
                    result.output = output.outputs[0].token_ids
                    result.cached = output.num_cached_tokens
        return list(results.values())

    def close(self) -> None:
        """Free the model and the KV memory."""
        del self.engine


load = Adapter
