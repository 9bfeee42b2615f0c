"""Fixtures: Anthropic's SDK against the live servers."""

from collections.abc import Iterator

import anthropic
import pytest

from server.live import Live


def anthropic_client(live: Live, key: str = "none") -> anthropic.Anthropic:
    """The official SDK, which must not try again by itself."""
    return anthropic.Anthropic(base_url=live.url, api_key=key, max_retries=0, timeout=240)


@pytest.fixture
def client(live: Live) -> Iterator[anthropic.Anthropic]:
    with anthropic_client(live) as client:
        yield client
