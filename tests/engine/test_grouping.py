"""A batch runs in the order of its prefix tree, computes what was predicted, and comes back in the order given."""

import random
from collections.abc import Callable

from foreword.engine import LLM, SamplingParams
from foreword.prompt import group_by_prefix


def batch(count: int, seed: int) -> list[list[int]]:
    """Prompts of a tree three levels deep, shuffled, with a few equal ones."""
    rng = random.Random(seed)
    trunks = [[rng.randrange(2, 300) for _ in range(rng.randrange(20, 60))] for _ in range(5)]
    branches = [[*rng.choice(trunks), *(rng.randrange(2, 300) for _ in range(rng.randrange(5, 40)))] for _ in range(20)]
    prompts = [[*rng.choice(branches), *(rng.randrange(2, 300) for _ in range(rng.randrange(1, 9)))] for _ in range(count)]
    return prompts + rng.sample(prompts, count // 20)


def test_predicted_computed_tokens_are_measured_and_outputs_keep_their_order(make_llm: Callable[..., LLM]) -> None:
    """The cache holds a fraction of the tree only: in any other order it computes far more."""
    llm = make_llm(kv_cache_memory_bytes=2**20, max_num_seqs=4)
    prompts = batch(200, seed=3)
    grouping = group_by_prefix(prompts)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], SamplingParams(max_tokens=1), use_tqdm=False)
    assert [output.prompt_token_ids for output in outputs] == prompts
    assert sum(output.account.prompt_tokens for output in outputs) == grouping.prompt_tokens
    assert sum(output.account.computed for output in outputs) == grouping.computed_tokens < grouping.prompt_tokens / 4


def test_a_prompt_that_is_refused_does_not_disturb_the_others(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    prompts = [{"prompt_token_ids": ids} for ids in ([5, 6, 7], [2**40], [], [5, 6], [9999], [5, -1])]
    outputs = llm.generate(prompts, SamplingParams(max_tokens=1), use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, False, False, True, False, False]
    assert [output.prompt_token_ids for output in outputs if output.error is None] == [[5, 6, 7], [5, 6]]


def test_prompts_of_different_salts_are_grouped_apart(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    head = list(range(2, 42))
    salted = [{"prompt_token_ids": [*head, 50 + i], "cache_salt": "ab"[i % 2]} for i in range(6)]
    outputs = llm.generate(salted, SamplingParams(max_tokens=1), use_tqdm=False)
    assert sum(output.account.computed for output in outputs) == 2 * (len(head) + 3)
