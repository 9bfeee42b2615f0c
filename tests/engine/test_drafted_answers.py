"""The model in the package says the same with drafts and without, to the last bit of its log-probabilities.

Random lives: tables and questions that come again, sampling, penalties, stops, forms, several continuations, tenants and
aborts; and a crowd that has no room, so that requests make way for others and begin anew. What is compared is counted.
"""

import random
from typing import Any

import pytest
import torch

from engine.making import make
from foreword.account import Drafted
from foreword.engine import Engine, EngineConfig, EngineRequest, SamplingParams
from foreword.engine.generation import Generation
from foreword.engine.grammars import Grammars
from foreword.outputs import CompletionOutput
from foreword.sampling_params import StructuredOutputs

LIVES, REQUESTS = 12, 14
MEMORY = 2 * 2**20
PEOPLE = (("Alice Smith", "Engineering", "85000", "alice@example.com"), ("Bob Ray", "Sales", "61000", "bob@example.com"))
FORMS = (
    StructuredOutputs(choice=["85000", "61000", "alice@example.com"]),
    StructuredOutputs(regex=r"[a-z]+@example\.com"),
    StructuredOutputs(json={"type": "object", "properties": {"salary": {"type": "integer"}}, "required": ["salary"]}),
)


def prompt(rng: random.Random) -> str:
    rows = "".join(f"| {number} | {' | '.join(person)} |\n" for number, person in enumerate(PEOPLE, 1))
    table = f"| ID | Name | Department | Salary | Email |\n|---|---|---|---|---|\n{rows}"
    name, field = rng.choice(PEOPLE)[0], rng.choice(["salary", "email", "department"])
    return f"{table}Question: What is {name}'s {field}? Your answer: "


def params(rng: random.Random) -> SamplingParams:
    chosen: dict[str, Any] = {"max_tokens": rng.choice([1, 6, 25, 40]), "seed": rng.randrange(9)}
    chosen["temperature"] = rng.choice([0.0, 0.0, 0.7, 1.5])
    chosen["n"] = rng.choice([1, 1, 1, 2])
    chosen["logprobs"] = rng.choice([0, 2])
    chosen["ignore_eos"] = rng.random() < 0.6
    if rng.random() < 0.25:
        return SamplingParams(structured_outputs=rng.choice(FORMS), **chosen)
    if rng.random() < 0.4:
        chosen |= {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": rng.choice([0.0, -0.5])}
    if rng.random() < 0.3:
        chosen["stop"] = ["00", "@example", "\n"]
    if rng.random() < 0.3:
        chosen["min_tokens"] = rng.randrange(chosen["max_tokens"] + 1)
    if rng.random() < 0.2:
        chosen |= {"top_p": 0.8, "top_k": 20}
    return SamplingParams(**chosen)


def life(seed: int, draft: str) -> tuple[list[Generation], set[str]]:
    """All that was asked, and who was aborted; it follows from the seed."""
    rng = random.Random(seed)
    config = EngineConfig(draft=draft, self_test=False, kv_cache_memory_bytes=MEMORY, max_num_seqs=4, seed=1)
    engine = make(config).engine
    tokenizer = engine.text.tokenizer
    grammars = Grammars(tokenizer, engine.info.vocab_size, engine.info.end_token_ids)
    asked: list[Generation] = []
    aborts: dict[str, int] = {}
    for number in range(REQUESTS):
        sampling, words = params(rng), prompt(rng)
        tenant, public = rng.choice([None, "x", "y"]), rng.choice([0, 60])
        tokens = tokenizer.tokens(words, add_special_tokens=True)
        form = grammars.of(sampling.structured_outputs)
        request = EngineRequest(tokens, sampling, f"r{number}", tenant=tenant, public_tokens=public, grammar=form)
        asked.append(engine.add_request(request))
        if rng.random() < 0.15:
            aborts[f"r{number}"] = rng.randrange(8)
        for _ in range(rng.choice([0, 0, 5, 40])):
            step(engine, asked, aborts)
    while engine.has_unfinished_requests():
        step(engine, asked, aborts)
    engine.check_integrity()
    assert engine.usage().held_blocks == 0
    return asked, set(aborts)


def crowd(seed: int, draft: str) -> tuple[list[Generation], int]:
    """Six at once, of whom three have room; and how often one made way. Answers repeat words of the table, and more."""
    rng = random.Random(seed)
    engine = make(EngineConfig(draft=draft, self_test=False, kv_cache_memory_bytes=MEMORY, max_num_seqs=6)).engine
    asked = []
    for number in range(6):
        sampling = SamplingParams(
            temperature=rng.choice([0.0, 0.7]), seed=number, max_tokens=70, ignore_eos=True, logprobs=2
        )
        tokens = engine.text.tokenizer.tokens(prompt(rng), add_special_tokens=True)
        asked.append(engine.add_request(EngineRequest(tokens, sampling, tenant=rng.choice([None, "x"]))))
    while engine.has_unfinished_requests():
        engine.step()
        engine.check_integrity()
    return asked, engine.state().preemptions


def step(engine: Engine, asked: list[Generation], aborts: dict[str, int]) -> None:
    engine.step()
    for generation in asked:
        if not generation.finished and generation.num_output_tokens >= aborts.get(generation.request_id, 10**9):
            engine.abort(generation.request_id)


def compared(found: CompletionOutput, expected: CompletionOutput, aborted: bool) -> int:
    """Tokens that were compared; an answer that is given up may be longer, but is no other."""
    if not aborted:
        assert found == expected
        return len(found.token_ids)
    shared = min(len(found.token_ids), len(expected.token_ids))
    assert found.token_ids[:shared] == expected.token_ids[:shared]
    assert (found.logprobs or [])[:shared] == (expected.logprobs or [])[:shared]
    return shared


@pytest.mark.parametrize("batch", range(3))
def test_answers_and_log_probabilities_are_the_same(batch: int) -> None:
    torch.set_num_threads(1)
    tokens, drafts = 0, dict[str, Drafted]()
    for seed in range(batch, LIVES, 3):
        (plain, gone), (drafted, _) = life(seed, "off"), life(seed, "auto")
        for one, other in zip(drafted, plain, strict=True):
            assert (one.error, other.error) == (None, None)
            for found, expected in zip(one.output().outputs, other.output().outputs, strict=True):
                tokens += compared(found, expected, one.request_id in gone)
            for name, each in one.account().drafts.items():
                drafts[name] = drafts.get(name, Drafted()).plus(each)
    print(f"{tokens} tokens compared, {drafts}")
    assert tokens > 500
    assert drafts.keys() >= {"form", "prompt_lookup"}
    assert all(each.accepted for each in drafts.values())
    assert sum(each.drafted - each.accepted for each in drafts.values()), "some were wrong"


def test_who_makes_way_for_others_says_the_same() -> None:
    torch.set_num_threads(1)
    for seed in range(3):
        (plain, before), (drafted, preemptions) = crowd(seed, "off"), crowd(seed, "auto")
        tokens = sum(
            compared(found, expected, False)
            for one, other in zip(drafted, plain, strict=True)
            for found, expected in zip(one.output().outputs, other.output().outputs, strict=True)
        )
        accepted = sum(each.account().accepted for each in drafted)
        made_way = [each for each in drafted if each.metrics().preemptions and each.account().accepted]
        print(f"{tokens} tokens compared, {before} and {preemptions} preemptions, {accepted} drafted tokens accepted")
        assert tokens == 6 * 70
        assert before > 0 < preemptions
        assert made_way, "some who began anew had drafts"
