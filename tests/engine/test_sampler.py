"""From logits to tokens: what each parameter keeps, and that a row never depends on the others."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.engine import SamplingParams
from foreword.engine.runner import Sampled, SampledToken, Sampling, StepChunk
from foreword.engine.sampler import adjust, sample, token_logprobs
from foreword.engine.token_mask import WORD, Row, TokenMask, forbidden_tokens, row_length
from foreword.errors import ParameterError

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
SHARES = LOGITS.softmax(-1)
WAYS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.0, "repetition_penalty": 1.5},
    {"temperature": 0.0, "banned": (0,)},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.8, "top_k": 5},
]


def row(
    seed: int = 0,
    prompt: tuple[int, ...] = (),
    output: tuple[int, ...] = (),
    banned: tuple[int, ...] = (),
    end: int | None = None,
    mask: TokenMask | None = None,
    **params: Any,
) -> StepChunk:
    """The end of a continuation of these tokens; what is drawn stands at position ``end``."""
    tokens = np.array(prompt + output, np.int32)
    sampling = Sampling(SamplingParams(**params), seed, banned, mask)
    end = len(tokens) if end is None else end
    return StepChunk("r", end - 1, end, tokens, np.zeros(1, np.int32), len(prompt), sampling)


def one(given: StepChunk, logits: torch.Tensor = LOGITS, allowed: Sequence[Row] = ()) -> SampledToken:
    (token,) = sample(logits[None], given, allowed).tokens
    return token


def drawn(count: int = 1000, **params: Any) -> torch.Tensor:
    """How often each token comes."""
    tokens = [one(row(end=position, **params)).token for position in range(1, count + 1)]
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)) / count


def test_zero_temperature_takes_the_likeliest() -> None:
    assert one(row(temperature=0.0)).token == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_gives_the_shares_of_the_softmax(temperature: float) -> None:
    torch.testing.assert_close(drawn(temperature=temperature), (LOGITS / temperature).softmax(-1), rtol=0, atol=0.06)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"top_k": 1}, 1),
        ({"top_k": 3}, 3),
        ({"top_k": 99}, 5),
        ({"top_k": -1}, 5),
        ({"top_p": 0.1}, 1),
        ({"top_p": float(SHARES[0]) + 0.01}, 2),
        ({"top_p": 1.0}, 5),
        ({"min_p": 1.0}, 1),
        ({"min_p": 0.9 * float(SHARES[2] / SHARES[0])}, 3),
        ({"top_k": 4, "min_p": 0.9 * float(SHARES[1] / SHARES[0])}, 2),
    ],
)
def test_cuts_keep_the_likeliest(params: dict[str, Any], kept: int) -> None:
    shares = drawn(temperature=2.0 if "top_k" in params and kept > 2 else 1.0, **params)
    assert (shares > 0).tolist() == [index < kept for index in range(len(LOGITS))]


def test_penalties_by_their_formulas() -> None:
    """Repetition counts prompt and output, the others the output only, frequency by number."""
    logits = torch.tensor([[1.0, -1.0, 0.5, 3.0]])
    before = logits.clone()
    penalties: dict[str, Any] = {"repetition_penalty": 2.0, "presence_penalty": 0.25, "frequency_penalty": 0.5}
    given = row(prompt=(1,), output=(0, 0, 3), temperature=0.0, logprobs=4, **penalties)
    assert given.sampling is not None
    expected = [1.0 / 2 - 0.25 - 2 * 0.5, -1.0 * 2, 0.5, 3.0 / 2 - 0.25 - 0.5]
    adjusted = logits[0].clone()
    adjust(adjusted, given, given.sampling)
    torch.testing.assert_close(adjusted, torch.tensor(expected))
    assert one(given, logits[0]).token == 3
    assert torch.equal(logits, before), "log-probabilities are reported from the model's own logits"


def test_banned_tokens_never_come() -> None:
    assert one(row(temperature=0.0, banned=(0, 1))).token == 2


def test_a_seed_and_a_position_give_the_same_token_in_any_batch_at_any_time() -> None:
    others = [row(seed=1), row(seed=2, top_k=1, repetition_penalty=1.5, output=(1,))]
    expected = [one(row(seed=3, end=end)).token for end in range(1, 40)]
    for end, token in reversed(list(enumerate(expected, 1))):
        among = [one(each) for each in (others[0], row(seed=3, end=end), others[1])]
        assert among[1].token == token
    assert len(set(expected)) > 2


@pytest.mark.parametrize("seed", [0, -1, 2**62, -(2**62), 2**62 + 7])
def test_every_seed_that_a_request_may_have_is_its_own(seed: int) -> None:
    logits = torch.zeros(1000)
    tokens = [[one(row(seed=given, end=end), logits).token for end in range(1, 9)] for given in (seed, seed + 1)]
    assert tokens[0] != tokens[1]
    assert len(set(tokens[0])) > 4


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_logits_are_told_whether_or_not_a_token_is_wanted(broken: float) -> None:
    bad = LOGITS.clone()
    bad[1] = broken
    for chunk in (row(), row(temperature=0.0), replace(row(), sampling=None)):
        assert sample(bad[None], chunk) == Sampled(broken=True)


def test_logprobs_are_those_of_log_softmax() -> None:
    got = token_logprobs(LOGITS, 3, 2)
    expected = LOGITS.log_softmax(-1)
    assert got.rank == 4
    assert got.top_ids == [0, 1]
    assert got.logprob == pytest.approx(float(expected[3]))
    assert got.top_logprobs == pytest.approx(expected[:2].tolist())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", -1.0),
        ("temperature", "hot"),
        ("n", 0),
        ("n", True),
        ("top_p", -0.1),
        ("top_p", 1.5),
        ("top_k", -2),
        ("min_p", 2.0),
        ("max_tokens", -1),
        ("min_tokens", 17),
        ("presence_penalty", 3.0),
        ("repetition_penalty", 0.0),
        ("seed", 2**70),
        ("logprobs", -1),
        ("stop", 5),
        ("stop", [1]),
        ("stop_token_ids", ["a"]),
        ("stop_token_ids", 5),
        ("ignore_eos", 1),
    ],
)
def test_values_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} is .*; it must be "):
        SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ({"top_p": 0.0}, 3),
        ({"top_p": 1e-46}, 3),
        ({"top_p": 1e-300}, 3),
        ({"temperature": 1e-300}, 3),
        ({"repetition_penalty": 1e-39}, 2),  # of the tokens that were seen, the likeliest takes it all
        ({"repetition_penalty": 1e-300}, 2),
        ({"repetition_penalty": 1e300}, 3),
    ],
)
def test_numbers_beyond_float32_choose_as_they_do_in_the_limit(params: dict[str, Any], token: int) -> None:
    logits = torch.tensor([-1.0, 0.0, 2.0, 5.0, 0.5])
    assert {one(row(prompt=(2, 4), seed=seed, **params), logits).token for seed in range(20)} == {token}


def test_a_temperature_beyond_float32_makes_all_tokens_alike_but_those_that_are_banned() -> None:
    tokens = {one(row(seed=seed, temperature=1e300, banned=(0, 1))).token for seed in range(100)}
    assert tokens == {2, 3, 4}


def test_a_row_without_any_token_is_broken() -> None:
    assert sample(torch.full((1, 5), float("-inf")), row()).broken


def test_an_empty_stop_text_asks_for_nothing() -> None:
    assert SamplingParams(stop="").stop_strings == SamplingParams(stop=["", ""]).stop_strings == ()
    assert SamplingParams(stop=["a", "", "a"]).stop_strings == ("a",)


@pytest.mark.parametrize(("stop", "says"), [([str(n) for n in range(65)], "65 texts"), ("x" * 4097, "4097 characters")])
def test_stop_texts_are_bounded(stop: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        SamplingParams(stop=stop)


def test_what_a_mask_forbids_never_comes() -> None:
    """Also where the model lets none of the others come, or all of them are banned."""
    mask = Only({3, 5})
    logits = torch.zeros(1, 6)
    choices: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 2.0, "top_k": 2},
        {"temperature": 0.0, "banned": (3, 5)},
    ]
    for params in choices:
        for odd in (None, [3, 5]):
            given = logits.clone()
            given[0, 0] = 50.0
            if odd is not None:
                given[0, odd] = float("-inf")
            assert one(row(mask=mask, **params), given[0]).token in (3, 5)


@settings(max_examples=300)
@given(data=st.data())
def test_a_mask_is_as_if_the_model_let_no_other_token_come(data: st.DataObject) -> None:
    """Whether the likeliest is one of those that may come or not, in any batch, with ties and tokens that never come."""
    count = data.draw(st.integers(1, 70))
    steps = st.sampled_from([-math.inf, -3.0, -0.5, 0.0, 0.25, 2.0])
    rows = st.lists(st.lists(steps, min_size=count, max_size=count).filter(lambda given: max(given) > -math.inf), min_size=1)
    logits = torch.tensor(data.draw(rows))
    asked = [
        row(seed=data.draw(st.integers(0, 9)), prompt=(0,), **data.draw(st.sampled_from(WAYS))) for _ in range(len(logits))
    ]
    sets = st.none() | st.frozensets(st.integers(0, count - 1), min_size=1)
    allowed = [data.draw(sets) for _ in asked]
    before = logits.clone()
    masks = [None if each is None else Only(each) for each in allowed]
    masked = [with_mask(chunk, mask) for chunk, mask in zip(asked, masks, strict=True)]
    found = [one(chunk, logits[at]) for at, chunk in enumerate(masked)]
    made = [() if each is None else (bits(each, count),) for each in allowed]
    given = enumerate(zip(masked, made, strict=True))
    assert found == [one(chunk, logits[at], rows) for at, (chunk, rows) in given], "made beside"
    assert torch.equal(logits, before)
    for own, wanted, each, sampled in zip(logits, asked, allowed, found, strict=True):
        assert wanted.sampling is not None
        changed, params = own.clone(), vars(wanted.sampling.params)
        adjust(changed, wanted, wanted.sampling)
        if each is not None:
            changed[[token for token in range(count) if token not in each]] = -math.inf
            if changed.max() == -math.inf:
                changed[list(each)] = 0.0
        if changed.max() > -math.inf:  # else all that the model lets come is banned
            plain = {name: params[name] for name in ("temperature", "top_p", "top_k")}
            assert sampled.token == one(row(seed=wanted.sampling.seed, prompt=(0,), **plain), changed).token


class Only:
    """A mask that lets some tokens come."""

    def __init__(self, tokens: Collection[int]):
        self._tokens = tokens

    def takes(self, token: int) -> bool:
        return token in self._tokens

    def allowed(self, row: Row) -> None:
        row[:] = bits(self._tokens, WORD * len(row))

    def advance(self, token: int) -> bool:
        return token in self._tokens

    def fork(self) -> TokenMask:
        return self

    def forced(self) -> Sequence[int]:
        return ()


def with_mask(chunk: StepChunk, mask: TokenMask | None) -> StepChunk:
    assert chunk.sampling is not None
    return replace(chunk, sampling=replace(chunk.sampling, mask=mask))


def bits(tokens: Iterable[int], count: int) -> Row:
    """A row of some tokens out of ``count``; the bits beyond are set."""
    flags = np.zeros(row_length(count) * WORD, np.uint8)
    flags[[*tokens, *range(count, len(flags))]] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


def test_a_row_says_of_each_token_whether_it_may_come() -> None:
    tokens = {0, 31, 32, 63, 64, 69}
    allowed = bits(tokens, 70)
    assert set(np.flatnonzero(~forbidden_tokens(allowed, 70)).tolist()) == tokens


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 6.0, 40.0])
@pytest.mark.parametrize(
    "params", [{"top_p": 0.5}, {"top_p": 0.999999}, {"top_p": 0.9, "top_k": 40}, {"top_p": 0.9, "min_p": 0.3}]
)
def test_cuts_of_many_tokens_are_those_of_sorting_them_all(spread: float, params: dict[str, Any]) -> None:
    """Few likely tokens or all alike: what is drawn is what would be drawn if the model let only those come."""
    logits = spread * torch.randn(3000, generator=torch.Generator().manual_seed(1))
    shares = logits.double().softmax(-1)
    ordered, ids = shares.sort(descending=True, stable=True)
    if "top_k" in params:
        ordered[ordered < ordered[params["top_k"] - 1]] = 0.0
    kept = (ordered.cumsum(-1) - ordered < params["top_p"] * ordered.sum()) & (ordered > 0.0)
    kept &= ordered >= params.get("min_p", 0.0) * ordered[0]
    only = torch.full_like(logits, -math.inf)
    only[ids[kept]] = logits[ids[kept]]
    for position in range(1, 30):
        assert one(row(end=position, **params), logits).token == one(row(end=position), only).token
