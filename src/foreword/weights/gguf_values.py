"""What the metadata of a GGUF file says of its architecture, value by value: each of the kind that it must be of, or refused
by its key. A number that is none would be computed with, and nobody would see why answers are wrong."""

import math
from collections.abc import Callable
from typing import Any

from foreword.errors import ModelError
from foreword.weights.gguf_file import MEND, GgufFile, shown

COUNTS = frozenset({
    "embedding_length", "block_count", "feed_forward_length", "context_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.sliding_window",
    "rope.dimension_count", "rope.scaling.original_context_length", "expert_count", "nextn_predict_layers",
})  # fmt: skip
COUNT_END = 1 << 24
"""Above every count: what no model has, such as a context of 4,294,967,295 tokens, would be asked of memory."""
POSITIVE = frozenset({"attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.freq_base_swa"})
NUMBERS = frozenset({
    "rope.scaling.factor", "rope.scale_linear", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_attn_factor", "attn_logit_softcapping", "final_logit_softcapping", "attention.scale",
    "embedding_scale", "residual_scale", "logit_scale",
})  # fmt: skip
PATTERN = "attention.sliding_window_pattern"
"""Which layers have a window: one value a layer, or every how many layers there is none."""


def architecture_values(file: GgufFile, name: str) -> dict[str, Any]:
    """The values of the architecture ``name``, without its name before theirs; those of equal layers are one.

    ModelError for layers of different kinds, and for a value that is of another kind than it must be, NaN among them.
    """
    begin, values = f"{name}.", {}
    for key, value in file.metadata.items():
        if key.startswith(begin):
            values[key.removeprefix(begin)] = _of_all_layers(file, key, value)
    for key, value in values.items():
        for keys, fits, wanted in KINDS:
            if key in keys and not fits(value):
                raise ModelError(
                    f"GGUF file {str(file.path)!r} says {name}.{key} = {shown(value)}, which has to be {wanted}. {MEND}"
                )
    pattern, layers = values.get(PATTERN), values.get("block_count")
    if isinstance(pattern, list) and len(pattern) != layers:
        raise ModelError(
            f"GGUF file {str(file.path)!r} says of {len(pattern)} layers whether they have a window ({name}.{PATTERN}), but "
            f"has {layers}. {MEND}"
        )
    return values


def _of_all_layers(file: GgufFile, key: str, value: Any) -> Any:
    """One value for a list of equal ones, which stand for layers."""
    if not isinstance(value, list) or not value or "pattern" in key or "sections" in key:
        return value
    if any(each != value[0] for each in value):
        raise ModelError(
            f"GGUF file {str(file.path)!r} has layers of different kinds ({shown(key)} is {shown(value[:8])}), which "
            f"cannot be served from GGUF. Take its safetensors instead."
        )
    return value[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < COUNT_END


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_pattern(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, int) for each in value)
    return _is_count(value) and value > 0


Fits = Callable[[Any], bool]
KINDS: tuple[tuple[frozenset[str], Fits, str], ...] = (
    (COUNTS, _is_count, f"a whole number from 0 to {COUNT_END - 1:,}"),
    (POSITIVE, _is_positive, "a number above 0"),
    (NUMBERS, _is_number, "a number, 0 or more"),
    (frozenset({PATTERN}), _is_pattern, "a whole number above 0, or a list of one value a layer"),
)
"""Of keys: whether a value is of their kind, and that kind in words."""
