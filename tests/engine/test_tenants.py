"""Tenants with a public part: they share it to the token, and nothing behind it."""

from collections.abc import Callable

import pytest

from engine.checks import assert_settled
from engine.making import add, finish
from foreword.engine import LLM, RequestOutput, SamplingParams

PROMPT = list(range(2, 50))
GREEDY = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True, repetition_penalty=1.2)


def ask(llm: LLM, tenant: str | None, public: int, prompt: list[int] = PROMPT, **more: object) -> RequestOutput:
    name = add(llm.engine, prompt, GREEDY, tenant=tenant, public_tokens=public, stream=False, **more)
    return finish(llm.engine)[name]


@pytest.mark.parametrize("public", [1, 15, 16, 17, 31, 46, 47, 48, 60])
def test_the_public_part_is_shared_to_the_token_and_nothing_behind_it(make_llm: Callable[..., LLM], public: int) -> None:
    llm = make_llm()
    expected = llm.generate({"prompt_token_ids": PROMPT, "cache_salt": "apart"}, GREEDY)[0].outputs[0].token_ids
    first = ask(llm, "alice", public)
    other = ask(llm, "bob", public)
    again = [ask(llm, tenant, public) for tenant in ("alice", "bob")]
    assert first.num_cached_tokens == 0
    assert other.num_cached_tokens == min(public, 47)
    assert [output.num_cached_tokens for output in again] == [47, 47]
    for output in (first, other, *again):
        assert output.outputs[0].token_ids == expected
    assert_settled(llm)


def test_answers_behind_a_public_prompt_are_private(make_llm: Callable[..., LLM]) -> None:
    """The whole prompt is public, so the first generated token is where the tenants part."""
    llm = make_llm()
    answer = ask(llm, "alice", 48).outputs[0].token_ids
    goes_on = [*PROMPT, *answer, 7]
    assert ask(llm, "bob", 48, goes_on).num_cached_tokens == 48
    assert ask(llm, "alice", 48, goes_on).num_cached_tokens >= 48 + len(answer) - 1


def test_who_has_no_public_part_shares_nothing(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    ask(llm, "alice", 20)
    assert ask(llm, "alice", 0).num_cached_tokens == 0, "a tenant's own tree"
    assert ask(llm, "bob", 0).num_cached_tokens == 0
    assert ask(llm, None, 0).num_cached_tokens == 20, "what is public is everyone's"


def test_a_salt_keeps_the_public_part_apart_too(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    ask(llm, "alice", 20, cache_salt="s")
    assert ask(llm, "alice", 20).num_cached_tokens == 0
    assert ask(llm, "bob", 20, cache_salt="s").num_cached_tokens == 20


def test_a_late_tenant_shares_the_public_part_like_the_first(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    for number in range(40):
        assert ask(llm, f"tenant {number}", 20, PROMPT[:24]).num_cached_tokens == (20 if number else 0)
    assert ask(llm, "tenant 0", 20, PROMPT[:24]).num_cached_tokens == 23


def test_preempted_requests_keep_their_private_part(make_llm: Callable[..., LLM]) -> None:
    """Room for three sequences at most: they push each other out and come back."""
    llm = make_llm(kv_cache_memory_bytes=12 * 16 * 3 * 2 * 32 * 4)
    expected = ask(llm, "x", 20).outputs[0].token_ids
    names = {}
    for number in range(6):
        tenant = f"t{number % 3}"
        names[add(llm.engine, PROMPT, GREEDY, tenant=tenant, public_tokens=20, stream=False)] = tenant
    outputs = finish(llm.engine)
    assert all(outputs[name].outputs[0].token_ids == expected for name in names)
    assert_settled(llm)
