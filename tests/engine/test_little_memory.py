"""More requests than blocks, and prefixes that are longer than the pool: everyone is answered right, or told why not."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from engine.checks import assert_settled
from foreword.engine import LLM, SamplingParams
from foreword.errors import ConfigError, PromptError

BLOCK_BYTES = 3 * 2 * 2 * 16 * 16 * 4
"""Of the tiny Llama: layers, keys and values, heads, size, tokens, bytes."""


def greedy(count: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)


def test_more_requests_than_blocks(make_llm: Callable[..., LLM]) -> None:
    """32 requests, of 3 to 4 blocks each, on 8 blocks: the answers are those that there are with plenty of room."""
    prompts = [{"prompt_token_ids": [2 + (n * n + at) % 300 for at in range(30)]} for n in range(32)]
    small, large = make_llm(kv_cache_memory_bytes=8 * BLOCK_BYTES, max_num_seqs=32), make_llm()
    assert small.engine.usage().total_blocks == 8
    answers = small.generate(prompts, greedy(20), use_tqdm=False)
    expected = large.generate(prompts, greedy(20), use_tqdm=False)
    assert [a.outputs[0].token_ids for a in answers] == [a.outputs[0].token_ids for a in expected]
    assert small.engine.state().preemptions > 0
    assert_settled(small)


def test_a_prefix_longer_than_the_pool(make_llm: Callable[..., LLM]) -> None:
    """200 tokens cannot be in 8 blocks of 16; the error says what would help, and the neighbours are answered."""
    llm = make_llm(kv_cache_memory_bytes=8 * BLOCK_BYTES)
    head = list(range(2, 202))
    prompts = [{"prompt_token_ids": ids} for ids in ([*head, 7], [5, 6, 7], [*head, 8])]
    outputs = llm.generate(prompts, greedy(4), use_tqdm=False)
    for place in (0, 2):
        assert isinstance(outputs[place].error, PromptError)
        assert "201 prompt tokens" in str(outputs[place].error)
        assert "the cache has 8" in str(outputs[place].error)
        assert "more memory" in str(outputs[place].error)
    assert len(outputs[1].outputs[0].token_ids) == 4
    assert_settled(llm)


@pytest.mark.parametrize("length", [100, 112, 125])
def test_a_prefix_that_leaves_no_room_for_others(make_llm: Callable[..., LLM], length: int) -> None:
    """A prefix of nearly all blocks, asked for in turn with one that evicts it: whole, cut, or computed again."""
    llm, large = make_llm(kv_cache_memory_bytes=8 * BLOCK_BYTES), make_llm()
    prompts = [[2 + at % 250 for at in range(length)], [3 + 7 * at % 250 for at in range(90)]] * 3
    for ids in prompts:
        given = {"prompt_token_ids": ids}
        answer, expected = (each.generate(given, greedy(3))[0].outputs[0].token_ids for each in (llm, large))
        assert answer == expected
        assert_settled(llm)


def test_more_memory_than_the_machine_has_is_refused_with_both_sizes(make_llm: Callable[..., LLM]) -> None:
    with pytest.raises(ConfigError, match=r"kv_cache_memory_bytes is \d+ \(1048576\.0 GiB\), but the machine has \d+ \("):
        make_llm(kv_cache_memory_bytes=2**50)


def test_less_memory_than_a_block_is_refused_with_both_sizes(make_llm: Callable[..., LLM]) -> None:
    with pytest.raises(ConfigError, match=rf"is 100, but one block of 16 tokens takes {BLOCK_BYTES} bytes"):
        make_llm(kv_cache_memory_bytes=100)


def test_more_memory_than_the_process_may_have_is_refused_with_both_sizes() -> None:
    """In a process of its own, whose address space is limited."""
    code = """
import resource
from foreword.backends.host import host_memory
from foreword.engine import EngineConfig
from foreword.errors import ConfigError
resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
room = host_memory()
assert room.total <= 2**36 and room.free <= room.total
try:
    EngineConfig(kv_cache_memory_bytes=2**37).num_blocks(4096, 1024, room.free, room.total)
except ConfigError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.match(r"kv_cache_memory_bytes is 137438953472 \(128\.0 GiB\), but the machine has \d+ \(", told)
