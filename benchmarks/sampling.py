"""What choosing a token costs, and what the form of an answer adds to a step.

    python benchmarks/sampling.py [--model smollm2] [--vocabulary 152000] [--batch 8] [--tokens 64] [--rounds 7]

rows   One row of made-up logits, for each way of sampling: median microseconds.
masks  So many requests at a time, each answering in the form of a JSON schema, and the same without a form: seconds a step,
       in turn. The share is what masks add. Both write as many tokens: end tokens are passed over, the schema has room.
"""

import argparse
import json
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from foreword import LLM, SamplingParams
from foreword.engine.runner import Sampling, StepChunk
from foreword.engine.sampler import sample
from foreword.sampling_params import StructuredOutputs
from measuring import machine

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {},
    "top_k 50": {"top_k": 50},
    "top_p 0.9": {"top_p": 0.9},
    "top_k 50, top_p 0.9": {"top_k": 50, "top_p": 0.9},
    "min_p 0.05": {"min_p": 0.05},
}
SCHEMA = {
    "type": "object",
    "properties": {"notes": {"type": "array", "items": {"type": "string", "minLength": 400}, "minItems": 3}},
    "required": ["notes"],
    "additionalProperties": False,
}


def measure_rows(vocabulary: int, rounds: int) -> dict[str, float]:
    """Microseconds for each way, of a row in which some thousand tokens are likelier than all others."""
    made = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(vocabulary, generator=made)
    logits[::64] += 4 * torch.randn(len(logits[::64]), generator=made) + 4
    none = np.zeros(1, np.int32)

    def seconds(params: SamplingParams, position: int) -> float:
        chunk = StepChunk("r", position - 1, position, none, none, 1, Sampling(params, 0))
        start = time.perf_counter()
        sample(logits[None], chunk)
        return time.perf_counter() - start

    return {
        name: 1e6 * median(seconds(SamplingParams(**way), position) for position in range(1, 10 * rounds + 1))
        for name, way in WAYS.items()
    }


def measure_masks(model: str | None, batch: int, tokens: int, rounds: int) -> dict[str, float]:
    """Seconds a step with and without a form, and the median share that the form adds."""
    llm = LLM(model, max_num_seqs=batch)
    prompts = [f"Write notes on the number {number}, as JSON." for number in range(batch)]
    form = StructuredOutputs(json=SCHEMA)

    def seconds(wanted: StructuredOutputs | None) -> float:
        params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, structured_outputs=wanted)
        start = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        took = time.perf_counter() - start
        assert all(len(output.outputs[0].token_ids) == tokens for output in outputs)
        return took / tokens

    seconds(None), seconds(form)
    pairs = []
    for number in range(rounds):
        if number % 2:
            plain, formed = seconds(None), seconds(form)
        else:
            formed, plain = seconds(form), seconds(None)
        pairs.append((plain, formed))
    return {
        "step_plain": median(plain for plain, _ in pairs),
        "step_formed": median(formed for _, formed in pairs),
        "added_share": median(formed / plain - 1 for plain, formed in pairs),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--vocabulary", type=int, default=152_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    result = {
        "machine": machine(),
        "rows_us": measure_rows(given.vocabulary, given.rounds),
        "masks": measure_masks(given.model, given.batch, given.tokens, given.rounds),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
