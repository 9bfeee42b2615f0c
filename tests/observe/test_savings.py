import random

import pytest

from foreword.observe.savings import CostFit, SavingsCount, TokenPrice, own_price, span_work


def test_work_is_the_sum_of_positions() -> None:
    assert span_work(3, 6) == 3 + 4 + 5
    assert span_work(0, 1) == 0


def seconds(spans: list[tuple[int, int]], generating: int) -> float:
    tokens = sum(end - start for start, end in spans)
    return 0.01 + 2e-4 * tokens + 3e-8 * sum(span_work(*span) for span in spans) + 0.004 * generating


def observed(noise: float) -> CostFit:
    fit, source = CostFit(), random.Random(1)
    for _ in range(400):
        spans = [(start, start + source.randrange(1, 500)) for start in (0, source.randrange(8000))[: source.randrange(3)]]
        generating = source.randrange(8)
        fit.observe(seconds(spans, generating) * source.uniform(1 - noise, 1 + noise), spans, generating)
    return fit


def test_the_costs_of_a_machine_are_found() -> None:
    model = observed(noise=0).model()
    assert model.per_step == pytest.approx(0.01, rel=1e-3)
    assert model.per_token == pytest.approx(2e-4, rel=1e-3)
    assert model.per_pair == pytest.approx(3e-8, rel=1e-3)
    assert model.per_generating == pytest.approx(0.004, rel=1e-3)


def test_noise_moves_them_little() -> None:
    model = observed(noise=0.2).model()
    assert model.prefill_seconds(4000, span_work(0, 4000)) == pytest.approx(seconds([(0, 4000)], 0) - 0.01, rel=0.1)


def test_no_cost_is_negative_and_none_is_known_without_observations() -> None:
    fit = CostFit()
    assert fit.model().prefill_seconds(1000, 1000) == 0
    for tokens, took in ((100, 0.03), (200, 0.02), (400, 0.01)):
        fit.observe(took, [(0, tokens)])
    fit.observe(0.0, [(0, 5)])
    fit.observe(1.0, [])
    model = fit.model()
    assert min(model.per_step, model.per_token, model.per_pair, model.per_generating) >= 0
    assert model.observations == 3


def test_savings_in_tokens_seconds_and_money() -> None:
    count = SavingsCount()
    count.observe(1000, reused=0, computed=1000)
    count.observe(1000, reused=900, computed=100)
    model = observed(noise=0).model()
    savings = count.snapshot(model, TokenPrice(10.0, read_factor=0.1, write_factor=1.25))
    assert (savings.tokens, savings.prompt_tokens) == (900, 2000)
    assert savings.seconds == pytest.approx(2e-4 * 900 + 3e-8 * span_work(0, 900), rel=0.01)
    assert savings.money_without_cache == pytest.approx(0.02)
    assert savings.money == pytest.approx(0.02 - 10e-6 * (900 * 0.1 + 1100 * 1.25))
    assert count.snapshot(model).money is None


def test_the_price_of_ones_own_machine() -> None:
    count, model = SavingsCount(), observed(noise=0).model()
    assert own_price(count.snapshot(model), 3.6) is None
    count.observe(1000, reused=500, computed=500)
    savings = count.snapshot(model)
    price = own_price(savings, 3.6)
    assert price is not None
    assert price.per_million * savings.prompt_tokens / 1e6 == pytest.approx(savings.prefill_seconds * 0.001)
