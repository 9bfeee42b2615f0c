"""--verify-cache: hits are computed again, and every differing bit is counted."""

from collections.abc import Callable

import pytest

from engine.checks import assert_settled
from engine.making import Made
from foreword.backends.registry import KV_DTYPES
from foreword.engine import LLM, SamplingParams
from foreword.engine.llm import LLMOverEngine
from foreword.engine.runner import Sampled, Step

PROMPT = {"prompt_token_ids": list(range(2, 62))}
GREEDY = SamplingParams(temperature=0.0, max_tokens=2)
VALUES_A_TOKEN = 3 * 2 * (16 + 16)
"""3 layers, 2 heads, keys and values of 16."""


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_hits_have_no_differing_bits(make_llm: Callable[..., LLM], kv_dtype: str) -> None:
    llm = make_llm(verify_cache=1.0, kv_dtype=kv_dtype)
    llm.generate(PROMPT, GREEDY)
    assert llm.engine.verify_report().checked == 0, "a miss has nothing to check"
    output = llm.generate(PROMPT, GREEDY)[0]
    report = llm.engine.verify_report()
    assert output.num_cached_tokens == 59
    assert (report.checked, report.skipped) == (1, 0)
    assert report.values_compared == 59 * VALUES_A_TOKEN
    assert (report.values_differing, report.logits_differing) == (0, 0)
    assert_settled(llm)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_one_flipped_value_is_counted(make_engine: Callable[..., Made], kv_dtype: str) -> None:
    made = make_engine(verify_cache=1.0, kv_dtype=kv_dtype)
    llm = LLMOverEngine(made.engine)
    llm.generate(PROMPT, GREEDY)
    memory = made.parts.runner.memory
    panel, lane = memory.keys[1][0, :, 3].nonzero()[5]
    memory.keys[1][0, panel, 3, lane] -= memory.keys[1][0, panel, 3, lane].sign()
    llm.generate(PROMPT, GREEDY)
    report = llm.engine.verify_report()
    assert report.values_differing == 1
    assert report.logits_differing > 0


def test_no_room_is_counted_as_skipped(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm(verify_cache=1.0, kv_cache_memory_bytes=5 * 16 * VALUES_A_TOKEN * 4)
    for _ in range(2):
        llm.generate(PROMPT, GREEDY)
    assert llm.engine.verify_report().skipped == 1
    assert llm.engine.verify_report().checked == 0
    assert_settled(llm)


def test_a_check_that_raises_harms_nobody(make_engine: Callable[..., Made]) -> None:
    made = make_engine(verify_cache=1.0)
    llm = LLMOverEngine(made.engine)
    answer = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids

    def forget(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
        """The step's logits are not there when the verifier asks for them."""
        out = run(step)
        for sink in made.parts.runner.sinks:
            sink(step, [])
        return out

    made.runner.hook = forget
    assert llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids == answer
    assert llm.engine.verify_report().skipped == 1
    assert_settled(llm)
