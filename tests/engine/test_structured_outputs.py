"""Answers that have a form: every one that ends by itself has it, whatever model writes and whatever else is asked."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from engine.making import Made, add, finish
from engine.schemas import KEPT, REFUSED, SMALL, TOO_MUCH, TRUTH, record
from foreword import LLM, SamplingParams, StructuredOutputs
from foreword.engine import CompletionOutput, EngineRequest
from foreword.engine.grammars import Grammars
from foreword.engine.runner import Sampled, Step, StepChunk
from foreword.engine.token_mask import Row, TokenMask, forbidden_tokens, row_length
from foreword.errors import GrammarFailed, ParameterError, StepFailed
from foreword.tokens import pack_tokens

PERSON = record(name={"type": "string", "maxLength": 5}, age=SMALL)


@pytest.fixture
def grammars(make_engine: Callable[..., Made]) -> Grammars:
    """Forms over the tiny model's tokens."""
    engine = make_engine().engine
    return Grammars(engine.text.tokenizer, engine.info.vocab_size, engine.info.end_token_ids)


def answers(llm: LLM, wanted: Sequence[StructuredOutputs], **params: Any) -> list[list[CompletionOutput]]:
    """Answers of a model with random weights, of each form."""
    given = [SamplingParams(**{"max_tokens": 400, "seed": 5, **params}, structured_outputs=each) for each in wanted]
    return [output.outputs for output in llm.generate(["Tell me."] * len(wanted), given, use_tqdm=False)]


def test_every_answer_that_ends_follows_its_schema(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm(max_num_seqs=64)
    compact = [StructuredOutputs(json=schema, disable_any_whitespace=True) for schema in KEPT.values()]
    ended: dict[str, int] = dict.fromkeys(KEPT, 0)
    for name, outputs in zip(KEPT, answers(llm, compact, n=2, max_tokens=80), strict=True):
        for output in outputs:
            assert output.finish_reason in ("stop", "length")
            if output.finish_reason == "stop":
                ended[name] += 1
                assert jsonschema_rs.is_valid(KEPT[name], json.loads(output.text)), f"{name}: {output.text}"
    assert sum(count > 0 for count in ended.values()) > 0.8 * len(KEPT)  # names and texts without a limit may not end


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_it_holds_for_any_weights(make_llm: Callable[..., LLM], model_dir: Any, family: str, temperature: float) -> None:
    llm = make_llm(model=model_dir(family))
    for seed in range(3):
        ((output,),) = answers(llm, [StructuredOutputs(json=PERSON)], seed=seed, temperature=temperature)
        if output.finish_reason == "stop":
            assert jsonschema_rs.is_valid(PERSON, json.loads(output.text))


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_cannot_be_kept_is_refused_by_name(grammars: Grammars, name: str) -> None:
    schema, named = REFUSED[name]
    with pytest.raises(ParameterError, match=re.escape(named)):
        grammars.of(StructuredOutputs(json=schema))


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_schema_that_would_take_too_much_is_refused(grammars: Grammars, name: str) -> None:
    schema, says = TOO_MUCH[name]
    with pytest.raises(ParameterError, match=says):
        grammars.of(StructuredOutputs(json=schema))
    assert grammars.of(StructuredOutputs(json=PERSON)) is not None  # nothing else has suffered


FORMS: dict[str, tuple[StructuredOutputs, str]] = {
    "regex": (StructuredOutputs(regex="[ab]{2,4}/[0-9]"), "[ab]{2,4}/[0-9]"),
    "regex with anchors": (StructuredOutputs(regex="^(yes|no)$"), "yes|no"),
    "regex of several lines": (StructuredOutputs(regex="a\nb\\nc"), "a\nb\nc"),
    "choice": (StructuredOutputs(choice=["yes", "no", 'it "depends"\n']), 'yes|no|it "depends"\n'),
    "choices of which one begins the other": (StructuredOutputs(choice=["a", "ab"]), "a|ab"),
    "Lark": (StructuredOutputs(grammar='start: "a" ("," /[0-9]/)~2'), "a,[0-9],[0-9]"),
    "GBNF": (StructuredOutputs(grammar='root ::= "a" [0-9]{2} "b"'), "a[0-9]{2}b"),
    "Lark with a schema": (StructuredOutputs(grammar='start: "x=" %json {"enum": [1, 2]}'), "x=[12]"),
}


@pytest.mark.parametrize("ignore_eos", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_expressions_choices_and_grammars(make_llm: Callable[..., LLM], name: str, ignore_eos: bool) -> None:
    wanted, pattern = FORMS[name]
    ((*outputs,),) = answers(make_llm(), [wanted], n=3, ignore_eos=ignore_eos)
    for output in outputs:
        assert output.finish_reason == "stop"
        assert re.fullmatch(pattern, output.text)


BAD_FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "look-ahead": ({"regex": "(?=a)b"}, "look-ahead"),
    "no expression": ({"regex": "["}, "unclosed"),
    "a long expression": ({"regex": "a" * 20_000}, "16384"),
    "no grammar": ({"grammar": "hello"}, "Expected token"),
    "no start": ({"grammar": 'other: "a"'}, "start"),
    "a long grammar": ({"grammar": 'start: "a"\n' * 7000}, "65536"),
    "a chain of rules": ({"grammar": "\n".join(f"r{n}:r{n + 1}" for n in range(5000)) + '\nr5000:"a"\nstart:r0'}, "deep"),
    "an unknown token": ({"grammar": "start: <none>"}, "unknown special token"),
    "a token beyond the vocabulary": ({"grammar": "start: <[9999]>"}, "too large"),
    "no JSON": ({"json": "{"}, "not valid JSON"),
    "no schema": ({"json": "[]"}, "of the kind list"),
    "a rule that is only itself": ({"grammar": "start: start"}, "no text has this form"),
    "a reference to itself": ({"json": {"$ref": "#"}}, "no text has this form"),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_what_is_no_form_is_refused(grammars: Grammars, name: str) -> None:
    fields, says = BAD_FORMS[name]
    with pytest.raises(ParameterError, match=says):
        grammars.of(StructuredOutputs(**fields))


def test_a_cut_answer_has_the_beginning_of_its_form(make_llm: Callable[..., LLM]) -> None:
    ((output,),) = answers(make_llm(), [StructuredOutputs(regex="[ab]{50}")], max_tokens=7)
    assert output.finish_reason == "length"
    assert re.fullmatch("[ab]+", output.text)


def test_an_end_comes_only_where_the_form_lets_the_answer_end(make_llm: Callable[..., LLM]) -> None:
    """End tokens of the caller's own as well; the model's are passed over where that is asked for."""
    llm = make_llm()
    stop = llm.get_tokenizer().convert_tokens_to_ids("x")
    for ignore_eos in (False, True):
        ((*outputs,),) = answers(
            llm, [StructuredOutputs(regex="([ab]{3}x?)+")], n=8, stop_token_ids=[stop], ignore_eos=ignore_eos, max_tokens=40
        )
        for output in outputs:
            if output.finish_reason == "stop":
                assert re.fullmatch("([ab]{3})+", output.text.removesuffix("x"))
                assert output.stop_reason == stop or not ignore_eos


def test_penalties_and_log_probabilities_stand_beside_a_form(make_llm: Callable[..., LLM]) -> None:
    params = {"repetition_penalty": 1.3, "frequency_penalty": 2.0, "presence_penalty": -2.0, "logprobs": 2, "top_k": 3}
    ((*outputs,),) = answers(make_llm(), [StructuredOutputs(json=PERSON)], n=3, top_p=0.5, min_p=0.1, **params)
    for output in outputs:
        assert output.logprobs is not None
        assert len(output.logprobs) == len(output.token_ids)
        if output.finish_reason == "stop":
            assert jsonschema_rs.is_valid(PERSON, json.loads(output.text))


@pytest.mark.parametrize("more", [{"stop": "}"}, {"stop": ["\n"]}, {"min_tokens": 3}])
def test_what_says_otherwise_where_an_answer_ends_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(more))):
        SamplingParams(structured_outputs=StructuredOutputs(json_object=True), **more)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "exactly one"),
        ({"json": {}, "regex": "a"}, "json and regex"),
        ({"json_object": False}, "exactly one"),
        ({"json": [1]}, "json"),
        ({"regex": 1}, "regex"),
        ({"choice": []}, "choice"),
        ({"choice": "yes"}, "choice"),
        ({"choice": ["a", 1]}, "choice"),
        ({"json_object": "yes"}, "json_object"),
        ({"json_object": True, "whitespace_pattern": 1}, "whitespace_pattern"),
    ],
)
def test_fields_of_a_form(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        StructuredOutputs(**fields)


def test_blanks_and_other_properties_by_option(make_llm: Callable[..., LLM]) -> None:
    loose = {"type": "object", "properties": {"a": SMALL}, "required": ["a"]}
    wanted = [
        StructuredOutputs(json=loose, disable_any_whitespace=True, disable_additional_properties=True),
        StructuredOutputs(json=loose, whitespace_pattern=" ", disable_additional_properties=True),
    ]
    patterns = (r'\{"a":-?\d+\}', r'\{ ?"a" ?: ?-?\d+ ?\}')
    for outputs, pattern in zip(answers(make_llm(), wanted, n=4), patterns, strict=True):
        assert all(re.fullmatch(pattern, output.text) for output in outputs)


def test_the_same_answer_alone_together_with_others_and_after_a_preemption(make_llm: Callable[..., LLM]) -> None:
    """And whatever the cache holds: a form touches neither KV nor their key."""
    wanted = StructuredOutputs(json=PERSON, disable_any_whitespace=True)
    ((alone,),) = answers(make_llm(), [wanted], max_tokens=60)
    crowd = answers(make_llm(kv_cache_memory_bytes=2**17, max_num_seqs=8), [wanted] * 8, max_tokens=60)
    assert {output.text for (output,) in crowd} == {alone.text}
    llm = make_llm()
    prompt = "The quick brown fox jumps over the lazy dog."
    llm.generate(prompt, SamplingParams(max_tokens=4), use_tqdm=False)
    (output,) = llm.generate(prompt, SamplingParams(max_tokens=4, structured_outputs=wanted), use_tqdm=False)
    assert output.account.reused > 0


def test_what_is_told_of_one_token_is_what_is_told_of_all(make_engine: Callable[..., Made], grammars: Grammars) -> None:
    """But for ends, of which only the row of all tokens tells."""
    info, chosen = make_engine().engine.info, random.Random(0)
    form = grammars.of(StructuredOutputs(json=PERSON))
    assert form is not None
    mask, row = form.mask(info.end_token_ids), np.zeros(row_length(info.vocab_size), np.int32)
    for _ in range(12):
        mask.allowed(row)
        allowed = ~forbidden_tokens(row, info.vocab_size)
        told = [token for token in range(info.vocab_size) if mask.takes(token)]
        assert told == [token for token in np.flatnonzero(allowed).tolist() if token not in info.end_token_ids]
        if not told:
            break
        mask.advance(chosen.choice(told))


class Raises:
    """A form whose mask raises: as the answer begins, or after some tokens."""

    def __init__(self, error: BaseException, after: int):
        self._error = error
        self._after = after

    def mask(self, ends: frozenset[int]) -> TokenMask:
        del ends
        return Raises(self._error, self._after)

    def takes(self, token: int) -> bool:
        del token
        if self._after == 0:
            raise self._error
        return True

    def allowed(self, row: Row) -> None:
        if self._after == 0:
            raise self._error
        row.fill(-1)

    def advance(self, token: int) -> bool:
        del token
        self._after -= 1
        if self._after == 1:
            raise self._error
        return True

    def fork(self) -> TokenMask:
        return Raises(self._error, self._after)

    def forced(self) -> Sequence[int]:
        return ()


@pytest.mark.parametrize("after", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", [ValueError, StopIteration, type("PanicException", (BaseException,), {})])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_form_that_raises_ends_its_own_request_alone(
    make_engine: Callable[..., Made], kind: Any, after: int, temperature: float
) -> None:
    def run(grammar: Raises | None) -> dict[str, Any]:
        engine = make_engine().engine
        for name, first in (("one", 10), ("bad", 40), ("two", 70)):
            params = SamplingParams(max_tokens=8, ignore_eos=True, seed=1, n=2, temperature=temperature)
            add(engine, range(first, first + 20), params, request_id=name, grammar=grammar if name == "bad" else None)
        return finish(engine)

    right, found = run(None), run(Raises(kind("the secret of a neighbour"), after))
    for name in ("one", "two"):
        assert found[name].outputs == right[name].outputs
    if after != 1:
        error = found["bad"].error
        assert isinstance(error, StepFailed)
        assert "secret" not in str(error)


OPEN = 400
AMBIGUOUS = (
    "start: s\ns: t s | t\nt: " + " | ".join(f'"a" u{number}' for number in range(OPEN)) + "\n"
    + "".join(f'u{number}: "a"* s*\n' for number in range(OPEN))
)  # fmt: skip
"""Every token multiplies the ways in which those before it may be read."""


def test_a_form_that_becomes_too_complex_ends_its_own_request_alone_and_says_so(
    make_engine: Callable[..., Made], grammars: Grammars
) -> None:
    def run(grammar: Any) -> dict[str, Any]:
        engine = make_engine().engine
        for name, first in (("one", 10), ("bad", 40), ("two", 70)):
            params = SamplingParams(max_tokens=100, ignore_eos=True, seed=1)
            add(engine, range(first, first + 20), params, request_id=name, grammar=grammar if name == "bad" else None)
        return finish(engine)

    right, found = run(None), run(grammars.compiled(AMBIGUOUS, "grammar"))
    for name in ("one", "two"):
        assert found[name].outputs == right[name].outputs
    assert isinstance(found["bad"].error, GrammarFailed)
    assert "too complex in the midst of it" in str(found["bad"].error)


def test_many_properties_that_may_be_left_out(make_llm: Callable[..., LLM]) -> None:
    schema = {"type": "object", "properties": {f"p{number}": TRUTH for number in range(700)}, "additionalProperties": False}
    ((output,),) = answers(make_llm(), [StructuredOutputs(json=schema)], max_tokens=20)
    assert output.finish_reason in ("stop", "length")
    assert len(output.token_ids) > 1


def test_a_form_that_was_not_made_ready_is_not_passed_over(make_engine: Callable[..., Made]) -> None:
    params = SamplingParams(structured_outputs=StructuredOutputs(json_object=True))
    with pytest.raises(ParameterError, match="made ready"):
        make_engine().engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), params))


def test_each_continuation_has_rules_of_its_own(make_engine: Callable[..., Made], grammars: Grammars) -> None:
    seen: dict[str, TokenMask | None] = {}

    def hook(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
        def mask(chunk: StepChunk) -> TokenMask | None:
            return None if chunk.sampling is None else chunk.sampling.mask

        seen.update({chunk.request_id: mask(chunk) for chunk in step.chunks if chunk.sampling is not None})
        return run(step)

    made = make_engine()
    made.runner.hook = hook
    wanted = StructuredOutputs(choice=["abc"])
    params = SamplingParams(n=3, max_tokens=9, structured_outputs=wanted)
    add(made.engine, range(5, 30), params, request_id="r", grammar=grammars.of(wanted))
    (output,) = finish(made.engine).values()
    assert [each.text for each in output.outputs] == ["abc"] * 3
    assert len({id(mask) for mask in seen.values()}) == 3
