"""Where compiled kernels are kept, from the option and the environment."""

from pathlib import Path

import pytest

from foreword.backends.registry import cache_folder


@pytest.mark.parametrize(
    ("option", "environment", "folder"),
    [
        (None, {"XDG_CACHE_HOME": "/cache", "HOME": "/home/me"}, Path("/cache/foreword/kernels")),
        (None, {"HOME": "/home/me"}, Path("/home/me/.cache/foreword/kernels")),
        (None, {"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, Path("/home/me/.cache/foreword/kernels")),
        (None, {"XDG_CACHE_HOME": "", "HOME": "/home/me"}, Path("/home/me/.cache/foreword/kernels")),
        (None, {}, Path.home() / ".cache/foreword/kernels"),
        ("/kept", {"XDG_CACHE_HOME": "/cache"}, Path("/kept")),
        ("~/kept", {}, Path.home() / "kept"),
        ("off", {"XDG_CACHE_HOME": "/cache"}, None),
    ],
)
def test_where_compiled_kernels_are_kept(option: str | None, environment: dict[str, str], folder: Path | None) -> None:
    assert cache_folder(option, environment, "kernels") == folder
