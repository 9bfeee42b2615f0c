"""Fixtures: tiny models on disk, and engines that record what they compute."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from engine.models import write_model

transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Directory of a tiny model of a family; written once a session."""
    written: dict[tuple[object, ...], Path] = {}

    def get(family: str = "llama", **options: object) -> str:
        key = (family, *sorted(options.items()))
        if key not in written:
            written[key] = write_model(tmp_path_factory.mktemp(family), family, **options)
        return str(written[key])

    return get


@pytest.fixture(autouse=True)
def two_threads() -> None:
    """Other tests may have changed the number."""
    torch.set_num_threads(2)
