"""GGUF files on the hub: the one of a quantisation is chosen, and fetched alone."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from foreword.errors import ModelError
from foreword.weights.hub import HUB_GGUF, gguf_from_hub

FILES = (
    "model-Q4_K_M.gguf", "UD-Q4_K_M/model-UD-Q4_K_M.gguf", "model-Q4_K_S.gguf", "model-IQ4_XS.gguf", "model.q8_0.gguf",
    "mmproj-model-Q8_0.gguf", "F16/model-F16-00001-of-00002.gguf", "F16/model-F16-00002-of-00002.gguf", "README.md",
)  # fmt: skip


@pytest.mark.parametrize(
    ("quantisation", "file"),
    [
        ("Q4_K_M", "model-Q4_K_M.gguf"),
        ("q4_k_m", "model-Q4_K_M.gguf"),
        ("UD-Q4_K_M", "UD-Q4_K_M/model-UD-Q4_K_M.gguf"),
        ("Q4_K_S", "model-Q4_K_S.gguf"),
        ("Q8_0", "model.q8_0.gguf"),
        ("F16", "F16/model-F16-00001-of-00002.gguf"),
    ],
)
def test_the_file_of_a_quantisation_is_chosen(tmp_path: Path, quantisation: str, file: str) -> None:
    fetched: list[str] = []

    def fetch(name: str, patterns: list[str]) -> Path:
        assert name == "user/model"
        for each in FILES:
            if any(fnmatch(each, pattern) for pattern in patterns):
                (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / each).touch()
                fetched.append(each)
        return tmp_path

    assert gguf_from_hub("user/model", quantisation, fetch) == tmp_path / file
    assert "README.md" not in fetched
    assert len(fetched) <= 2


def test_a_quantisation_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "model-Q4_K_S.gguf").touch()
    with pytest.raises(ModelError, match=r"'user/model' has no GGUF file of quantisation 'Q4_K'; here are model-Q4_K_S"):
        gguf_from_hub("user/model", "Q4_K", lambda *_: tmp_path)
    with pytest.raises(ModelError, match=r"no GGUF file of quantisation 'Q3_K_M'"):
        gguf_from_hub("user/other", "Q3_K_M", lambda *_: tmp_path / "empty")


def test_what_cannot_be_fetched_is_said() -> None:
    def fetch(*_: object) -> Path:
        raise OSError("no way to the hub\nand more")

    with pytest.raises(
        ModelError, match=r"GGUF files of 'user/model' could not be fetched from the hub: no way to the hub "
    ):
        gguf_from_hub("user/model", "Q4_0", fetch)


@pytest.mark.parametrize("name", ["user/model", "model.gguf", "C:/x/y", "/user/model:Q4_0", "smollm2"])
def test_other_names_are_no_quantisations(name: str) -> None:
    assert HUB_GGUF.match(name) is None
