"""Words for lifetimes."""

from typing import Any

import pytest

from foreword.prompt.vendor_forms import ttl


def test_one_word_means_one_lifetime_whoever_says_it() -> None:
    words = [*ttl.ANTHROPIC, *ttl.OPENAI, *ttl.OPENAI_RETENTION]
    assert len(words) == len(set(words))
    assert [ttl.seconds(word) for word in words] == [300.0, 3600.0, 1800.0, 43200.0, 300.0, 86400.0]
    assert ttl.seconds("2 days") is ttl.seconds(None) is None


@pytest.mark.parametrize(
    ("block", "seconds"),
    [
        ({}, None),
        ({"cache_control": None}, None),
        ({"cache_control": {"type": "ephemeral"}}, 300.0),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, 3600.0),
        ({"cache_control": {"type": "ephemeral", "ttl": 7}}, 300.0),
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, 1800.0),
        ({"prompt_cache_breakpoint": {"ttl": "12h"}}, 43200.0),
        ({"prompt_cache_breakpoint": "yes"}, None),
    ],
)
def test_the_lifetime_of_a_mark(block: dict[str, Any], seconds: float | None) -> None:
    assert ttl.of_mark(block) == seconds
