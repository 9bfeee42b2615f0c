"""For all tests: how threads wait for each other, and the longest test first."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning at barriers costs 50 times on a busy machine

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minute of soak is first, so that the other worker does not wait for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
