"""A large model is asked by a twin of its first layers, with short windows and its own weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from foreword.backends.registry import make_backend
from foreword.engine import load_check
from foreword.engine.probe import ATTENTION_NAME, probe_layers, register
from foreword.errors import ModelError

WINDOWS = {"llama": [None, None], "gemma2": [load_check.SHORT_WINDOW, None], "gemma3": [load_check.SHORT_WINDOW] * 2}


@pytest.fixture
def loaded(model_dir: Callable[..., str]) -> Callable[[str], Any]:
    def of(family: str) -> Any:
        register()
        return transformers.AutoModelForCausalLM.from_pretrained(
            model_dir(family), attn_implementation=ATTENTION_NAME, dtype=torch.float32
        ).eval()

    return of


@pytest.mark.parametrize("family", WINDOWS)
def test_a_twin_has_every_kind_of_layer_and_the_model_s_weights(loaded: Callable[[str], Any], family: str) -> None:
    model = loaded(family)
    twin, layers = load_check.twin_of(model, probe_layers(model, 3, 1024), 1024) or pytest.fail("no twin")
    assert [layer.attention.call.window for layer in layers] == WINDOWS[family]
    for name, weight in twin.named_parameters():
        assert weight.data_ptr() == model.get_parameter(name).data_ptr()


def test_a_model_that_attends_otherwise_is_refused(loaded: Callable[[str], Any]) -> None:
    model, backend = loaded("gemma2"), make_backend("cpu", 16)
    probed = probe_layers(model, 3, 1024)
    load_check.check_model(model, probed, backend, 1024)
    model.model.layers[0].self_attn.foreword_call = probed[1].attention.call
    with pytest.raises(
        ModelError, match=r"Gemma2ForCausalLM cannot be served: for a prompt of 136 tokens from position 0 on"
    ):
        load_check.check_model(model, probed, backend, 1024)
