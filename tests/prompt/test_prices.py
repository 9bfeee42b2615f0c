"""The price table: its rows, and what is not in it."""

import pytest

from foreword.errors import ConfigError
from foreword.prompt.prices import PriceTable

ROW = """
[[model]]
name = "m"
provider = "p"
input = 2.0
output = 10
read = 0.1
write = 1.25
minimum = 1024
step = 128
marks = "none"
date = 2026-11-22
source = "https://example.com"
rules = "https://example.com/caching"
"""


def test_every_row_of_the_built_in_table_is_whole() -> None:
    table = PriceTable.built_in()
    assert len(table) >= 50
    for row in table:
        assert row.source.startswith("https://")
        assert row.rules.startswith("https://")
        assert row.date.year >= 2026
        assert 0 < row.read < 1 <= row.write
        assert row.minimum > 0
        assert row.ttl_long is None or row.ttl is None or row.ttl < row.ttl_long
        assert (row.marks == "required") == (row.provider == "anthropic")


def test_multipliers_are_those_of_the_vendors() -> None:
    table = PriceTable.built_in()
    read = {
        name: row.read
        for name in ("gpt-4o", "gpt-4.1", "gpt-5", "claude-opus-5", "claude-fable-5-1")
        if (row := table.find(name))
    }
    assert read == {"gpt-4o": 0.5, "gpt-4.1": 0.25, "gpt-5": 0.1, "claude-opus-5": 0.1, "claude-fable-5-1": 0.025}
    opus = table.find("claude-opus-5")
    assert opus is not None
    assert (opus.write, opus.write_long, opus.ttl, opus.ttl_long) == (1.25, 2.0, 300, 3600)


def test_lifetimes_are_those_of_the_vendors() -> None:
    """By default, and at most: OpenAI's older models keep in memory or for a day, those from gpt-5.6 on as asked."""
    table = PriceTable.built_in()
    found = {
        name: (row.ttl, row.ttl_long)
        for name in ("gpt-4o", "gpt-5-mini", "gpt-5.5", "gpt-5.6", "gpt-6.1-sol", "gemini-2.5-pro", "deepseek-v4-pro")
        if (row := table.find(name))
    }
    assert found == {
        "gpt-4o": (300, None),
        "gpt-5-mini": (300, None),
        "gpt-5.5": (86_400, None),
        "gpt-5.6": (1_800, 43_200),
        "gpt-6.1-sol": (1_800, 43_200),
        "gemini-2.5-pro": (None, None),
        "deepseek-v4-pro": (None, None),
    }


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        ("GPT-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-5.4-mini-2026-03-17", "gpt-5.4-mini"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-opus-5-latest", "claude-opus-5"),
    ],
)
def test_editions_and_routes_of_a_model_are_found(asked: str, name: str) -> None:
    row = PriceTable.built_in().find(asked)
    assert row is not None
    assert row.name == name


@pytest.mark.parametrize("asked", ["gpt-4o-audio", "gpt-55", "claude-opus", "my-model", "", "gpt-5.6-unheard"])
def test_a_model_that_is_not_in_the_table_is_not_priced(asked: str) -> None:
    assert PriceTable.built_in().find(asked) is None


def test_dollars() -> None:
    row = PriceTable.from_toml(ROW).find("m")
    assert row is not None
    assert row.dollars(plain=1_000_000) == 2.0
    assert row.dollars(read=1_000_000, written=2_000_000, output=100_000) == pytest.approx(0.2 + 5.0 + 1.0)
    assert row.dollars(written_long=1_000_000) == 2.5  # no price of its own: that of a write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("input = 2.0", "inputs = 2.0"), "Did you mean 'input'"),
        (("input = 2.0\n", ""), "Row 1 of the price table .m. lacks a field"),
        (("write = 1.25", "write = -1"), "negative"),
        (('marks = "none"', 'marks = "some"'), "'some'"),
        (("[[model]]", "[[model"), "not TOML"),
    ],
)
def test_a_broken_table_says_where(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PriceTable.from_toml(ROW.replace(*change))


def test_a_dot_in_a_name_is_a_dash() -> None:
    table = PriceTable.built_in()
    assert table.find("anthropic/claude-sonnet-4.5") is table.find("claude-sonnet-4-5")
    assert table.find("gpt-5.1") is not None


def test_a_long_prompt_is_charged_as_a_whole_at_its_own_rate() -> None:
    row = PriceTable.built_in().find("gpt-5.4")
    assert row is not None
    assert (row.long_from, row.long_input, row.long_output) == (272_000, 5, 22.5)
    assert row.dollars(plain=272_000, output=1_000) == pytest.approx(0.272 * 2.5 + 0.015)
    assert row.dollars(plain=1_000, read=272_000, output=1_000) == pytest.approx(0.001 * 5 + 0.272 * 0.5 + 0.0225)
    for row in PriceTable.built_in():
        assert row.long_input is None or row.input < row.long_input <= 5 * row.input + 1e-9
    with pytest.raises(ConfigError, match="all three or none"):
        PriceTable.from_toml(ROW + "long_from = 5\n")
