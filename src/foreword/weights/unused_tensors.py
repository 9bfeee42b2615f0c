"""What a model's files hold and its modelling code does not ask for: scales of a quantisation that nobody undid, a bias, a
norm.

A model that is served without them answers wrongly. What belongs to other parts than the language model (a vision tower,
heads that guess further tokens) may be left out.
"""

import logging
import re
from collections.abc import Iterable, Mapping

from torch import nn

from foreword.errors import ModelError

logger = logging.getLogger("foreword")

HARMLESS = ("inv_freq", ".masked_bias", ".attn.bias", ".attention.bias", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached")
"""Ends of names of what is computed anew, or was written by mistake."""
LAYER = re.compile(r"(.*?\blayers\.\d+)\.(.+)")
"""A numbered layer, and what it holds."""
NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Types that are numbers by themselves, as safetensors calls them."""


def refuse_unused(name: str, model: nn.Module, unused: Iterable[str], types: Mapping[str, str], method: str) -> None:
    """ModelError for tensors that a model would need: ``unused`` are those that its code did not ask for, ``types`` the
    types of all. ``method`` is what the configuration calls the quantisation, or empty."""
    quantised = f" Its quantisation is {method!r}." if method else ""
    for tensor, kind in sorted(types.items()):
        if kind not in NUMBERS and tensor.endswith((".weight", "weight_packed", "qweight")):
            raise ModelError(
                f"Tensor {tensor!r} of model {name!r} is of type {kind}: quantised weights of a kind that cannot be "
                f"read.{quantised} Take the model unquantised, or as a GGUF file."
            )
    modules = {path for path, _ in model.named_modules() if path}
    left = [each for each in sorted(unused) if not each.endswith(HARMLESS)]
    needed = [each for each in left if _parent(each) in modules or _within_layer(each, modules)]
    if needed:
        raise ModelError(
            f"The files of model {name!r} hold {len(needed)} tensors that {type(model).__name__} does not know, "
            f"{needed[0]!r} among them, so its answers would be wrong.{quantised} Take the model unquantised, as it was "
            f"published, or as a GGUF file."
        )
    if more := _layers_beyond(left, types):
        raise ModelError(
            f"The files of model {name!r} hold {len(more)} layers more than its configuration says, {more[0]!r} among them, "
            f"so its answers would be wrong. Check num_hidden_layers in config.json, or download the files again."
        )
    if left:
        logger.warning("%d tensors in the model's files are not used, %s among them.", len(left), left[0])


def _layers_beyond(unused: Iterable[str], types: Mapping[str, str]) -> list[str]:
    """Numbered layers that nobody asked for, and that hold what another one holds: those that guess further tokens hold
    more."""
    held: dict[str, set[str]] = {}
    for tensor in types:
        if numbered := LAYER.match(tensor):
            held.setdefault(numbered[1], set()).add(numbered[2])
    beyond = {numbered[1] for tensor in unused if (numbered := LAYER.match(tensor))}
    usual = [parts for layer, parts in held.items() if layer not in beyond]
    return sorted(layer for layer in beyond if held[layer] in usual)


def _parent(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _within_layer(tensor: str, modules: set[str]) -> bool:
    """Whether it belongs to a numbered layer that the model has."""
    parts = tensor.split(".")
    return any(part.isdigit() and ".".join(parts[: place + 1]) in modules for place, part in enumerate(parts))
