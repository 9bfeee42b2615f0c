"""For all tests: how threads wait for each other, a cache folder that is theirs, and the longest test first."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning at barriers costs 50 times on a busy machine

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept between tests, and nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minute of soak is first, so that the other worker does not wait for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
