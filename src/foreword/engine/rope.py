"""Rotary positions whose frequencies depend on the longest request of a batch, fixed when a model is loaded.

An answer would depend on its neighbours, and keys that are cached on who computed them. So a model turns by one set of
frequencies: ``dynamic`` by the plain ones, which are the right ones up to ``max_position_embeddings`` tokens, and a context
is no longer; ``longrope`` by those for long texts where requests may be longer than the model was first trained with.
"""

import logging
from typing import Any

logger = logging.getLogger("foreword")

BATCH_WIDE = ("longrope", "dynamic")


def batch_wide(text: Any) -> str | None:
    """The name of such a rope in a ``text`` configuration, or None."""
    rope = getattr(text, "rope_parameters", None) or {}
    name = rope.get("rope_type")
    return name if name in BATCH_WIDE else None


def fix_frequencies(module: Any, text: Any, context: int) -> None:
    """Fix them for requests of up to ``context`` tokens."""
    name = batch_wide(text)
    if name is None:
        return
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    trained = int(text.rope_parameters.get("original_max_position_embeddings") or text.max_position_embeddings)
    long = name == "longrope" and context > trained
    for child in module.modules():
        if getattr(child, "rope_type", None) == name:
            length = trained + 1 if long else trained
            frequencies, child.attention_scaling = ROPE_INIT_FUNCTIONS[name](child.config, None, seq_len=length)
            child.register_buffer("inv_freq", frequencies, persistent=False)
            child.rope_type = "fixed"
    if long:
        logger.warning(
            "The model's rope (longrope) has one set of frequencies for up to %d tokens and another for longer texts: "
            "all requests are computed by the latter, so that they can share what is cached. With max_model_len=%d "
            "(--max-model-len) all are computed by the former.",
            trained,
            trained,
        )
