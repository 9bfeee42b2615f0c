"""From logits to tokens: what each parameter keeps, and that a row never depends on the others."""

from typing import Any

import numpy as np
import pytest
import torch

from foreword.engine import SamplingParams
from foreword.engine.sampler import Sampled, SamplingRow, sample, token_logprobs
from foreword.errors import ParameterError

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
SHARES = LOGITS.softmax(-1)


def row(seed: int = 0, prompt: tuple[int, ...] = (), output: tuple[int, ...] = (), **params: Any) -> SamplingRow:
    return SamplingRow(
        params=SamplingParams(**params),
        generator=torch.Generator().manual_seed(seed),
        tokens=np.array(prompt + output, np.int32),
        num_prompt_tokens=len(prompt),
        banned=[],
    )


def one(given: SamplingRow, logits: torch.Tensor = LOGITS) -> Sampled:
    return sample(logits[None], [given])[0]


def drawn(count: int = 1000, **params: Any) -> torch.Tensor:
    """How often each token comes."""
    given = row(**params)
    tokens = [one(given).token for _ in range(count)]
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
    given = row(
        prompt=(1,), output=(0, 0, 3), repetition_penalty=2.0, presence_penalty=0.25, frequency_penalty=0.5, logprobs=4
    )
    given = SamplingRow(SamplingParams(**{**vars(given.params), "temperature": 0.0}), *list(_rest(given)))
    expected = [1.0 / 2 - 0.25 - 2 * 0.5, -1.0 * 2, 0.5, 3.0 / 2 - 0.25 - 0.5]
    from foreword.engine.sampler import _adjust

    adjusted = logits[0].clone()
    _adjust(adjusted, given)
    torch.testing.assert_close(adjusted, torch.tensor(expected))
    assert sample(logits, [given])[0].token == 3
    assert torch.equal(logits, before), "log-probabilities are reported from the model's own logits"


def _rest(given: SamplingRow) -> tuple[Any, ...]:
    return given.generator, given.tokens, given.num_prompt_tokens, given.banned


def test_banned_tokens_never_come() -> None:
    given = row(temperature=0.0)
    given.banned = [0, 1]
    assert one(given).token == 2


def test_a_seed_gives_the_same_tokens_in_any_batch() -> None:
    alone, batched = row(seed=3), row(seed=3)
    others = [row(seed=1), row(seed=2, top_k=1, repetition_penalty=1.5, output=(1,))]
    for _ in range(20):
        expected = one(alone).token
        assert sample(torch.stack([LOGITS, LOGITS, LOGITS]), [others[0], batched, others[1]])[1].token == expected


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_logits_end_their_row_only(broken: float) -> None:
    bad = LOGITS.clone()
    bad[1] = broken
    got = sample(torch.stack([bad, LOGITS]), [row(), row(temperature=0.0)])
    assert [sampled.token for sampled in got] == [None, 0]


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
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", -2),
        ("min_p", 2.0),
        ("max_tokens", -1),
        ("min_tokens", 17),
        ("presence_penalty", 3.0),
        ("repetition_penalty", 0.0),
        ("seed", 2**70),
        ("logprobs", -1),
        ("stop", ""),
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
