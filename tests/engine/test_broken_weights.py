"""A weight that becomes NaN while a real model serves: what was computed from it is not in the cache afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from engine.models import load
from foreword.engine import EngineConfig, RequestOutput, SamplingParams
from foreword.engine.build import make_parts
from foreword.engine.llm import LLMOverEngine
from foreword.engine.model import LoadedModel
from foreword.errors import StepFailed

ODD = 300
"""The token whose row of the embedding breaks."""
GREEDY = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)


def make(path: str, **options: Any) -> tuple[LLMOverEngine, LoadedModel]:
    """An engine whose model is its own: its weights will be changed."""
    config = EngineConfig(model=path, kv_cache_memory_bytes=2**22, self_test=False, **options)
    parts = make_parts(config, lambda _checkpoint, _backend: load(path))
    return LLMOverEngine(parts.engine()), parts.model


@contextmanager
def broken_row(model: LoadedModel) -> Iterator[None]:
    """As long as the block lasts, one row of the embedding is no number."""
    rows = model.module.get_input_embeddings().weight
    with torch.no_grad():
        kept = rows[ODD].clone()
        rows[ODD] = float("nan")
        yield
        rows[ODD] = kept


def tokens(*parts: range | list[int]) -> dict[str, list[int]]:
    return {"prompt_token_ids": [token for part in parts for token in part]}


def ask(llm: LLMOverEngine, *prompts: dict[str, list[int]]) -> list[RequestOutput]:
    return llm.generate(list(prompts), GREEDY, use_tqdm=False)


@pytest.mark.parametrize(
    ("family", "length", "budget"),
    [
        ("llama", 300, 512),
        ("llama", 300, 64),
        ("qwen3", 300, 512),
        ("mistral", 900, 1024),  # windows: at the end of the prompt nothing is seen of its beginning
        ("mistral", 900, 64),
        ("phi3", 900, 1024),
    ],
)
def test_nothing_that_was_computed_from_it_is_cached_and_neighbours_stay(
    model_dir: Callable[..., str], family: str, length: int, budget: int
) -> None:
    llm, model = make(model_dir(family), max_num_batched_tokens=budget)
    good = tokens(range(2, 150))
    bad = tokens(range(5, 10), [ODD], [2 + at * at % 290 for at in range(length)])
    (expected,) = ask(llm, good)
    llm.reset_prefix_cache()
    with broken_row(model):
        failed, neighbour = ask(llm, bad, good)
    assert isinstance(failed.error, StepFailed)
    assert "not numbers" in str(failed.error)
    assert neighbour.outputs == expected.outputs, "the same step, the same bits"
    llm.engine.check_integrity()
    for cut in (60, 100, 200):
        (again,) = ask(llm, tokens(bad["prompt_token_ids"][:cut]))
        assert again.error is None
        assert cut > 60 or again.num_cached_tokens == 0
    (kept,) = ask(llm, good)
    assert kept.num_cached_tokens == 147
    assert kept.outputs == expected.outputs


def test_what_is_computed_when_it_is_mended_is_as_if_it_had_never_been(model_dir: Callable[..., str]) -> None:
    llm, model = make(model_dir("mistral"), max_num_batched_tokens=1024)
    prompt = tokens([2, 3, ODD], [2 + at * at % 290 for at in range(700)])
    (expected,) = ask(llm, prompt)
    llm.reset_prefix_cache()
    with broken_row(model):
        assert ask(llm, prompt)[0].error is not None
    (mended,) = ask(llm, prompt)
    assert mended.num_cached_tokens == 0
    assert mended.outputs == expected.outputs


def test_a_broken_token_that_is_sampled_ends_its_request_and_goes(model_dir: Callable[..., str]) -> None:
    """The token is the answer's own: its KV are computed in the step after."""
    llm, model = make(model_dir("llama"))
    prompt = tokens(range(2, 40))
    (whole,) = ask(llm, prompt)
    first = whole.outputs[0].token_ids[0]
    llm.reset_prefix_cache()
    rows = model.module.get_input_embeddings().weight
    with torch.no_grad():
        kept = rows[first].clone()
        rows[first] = float("inf")
        (failed,) = ask(llm, prompt)
        rows[first] = kept
    assert failed.error is not None
    (again,) = ask(llm, tokens(range(2, 40), [first], [7]))
    assert again.num_cached_tokens == 0, "nothing of the request is believed"
