"""Sampling parameters: what would be read away by the check of it is refused."""

from typing import Any

import pytest

from foreword import SamplingParams
from foreword.errors import ParameterError


@pytest.mark.parametrize(
    "given",
    [
        {"stop": iter(["a"])},
        {"stop_token_ids": iter([1])},
        {"stop_token_ids": "1"},
        {"stop_token_ids": ""},
        {"stop_token_ids": [True]},
        {"stop": b"a"},
    ],
)
def test_stops_are_lists(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ParameterError, match=f"^{name} is .* it must be a"):
        SamplingParams(**given)


def test_stops_in_any_collection_are_kept() -> None:
    params: Any = {"stop": ("a", "b"), "stop_token_ids": {1, 2}}
    assert SamplingParams(**params).stop_strings == ("a", "b")
    assert list(SamplingParams(**params).stop_token_ids or ()) == [1, 2]


@pytest.mark.parametrize("n", [0, -1, 1025, 10**9])
def test_continuations_are_bounded(n: int) -> None:
    with pytest.raises(ParameterError, match=f"^n is {n}; it must be between 1 and 1024"):
        SamplingParams(n=n)
    assert SamplingParams(n=1024).n == 1024


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", True])
def test_a_temperature_is_a_finite_number(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^temperature is .* it must be a finite number"):
        SamplingParams(temperature=value)
