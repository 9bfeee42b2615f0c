"""The configuration of a model in a GGUF file, in transformers' words, and what its tensors are called there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType

from foreword.errors import ModelError
from foreword.weights.gguf_families import (
    ALL_HEADS,
    BOTH,
    FAMILIES,
    HEAD,
    HIDDEN,
    INNER,
    KEYS,
    LAYER,
    QUERY,
    WHOLE,
    Family,
    Sizes,
)
from foreword.weights.gguf_file import MEND, GgufFile, shown
from foreword.weights.gguf_values import architecture_values

ROPE_FACTORS, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
"""Tensors by which the frequencies of rotary positions are divided: always, in long contexts, in short ones."""
REFUSED: dict[str, Any] = {
    "expert_count": 0,
    "attention.causal": True,
    "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0,
    "attention.temperature_scale": 0.0,
    "attention.scale": None,
    "embedding_scale": None,
    "logit_scale": None,
    "residual_scale": None,
    "nextn_predict_layers": 0,
    "use_parallel_residual": False,
}
"""Values that change the answer, and what they are where they do not; families that know them are in KNOWN."""
KNOWN = {"granite": {"attention.scale", "embedding_scale", "logit_scale", "residual_scale"}}


@dataclass(frozen=True)
class ModelNotes:
    """What a file says of its model, besides weights and words.

    family
        What was done to its tensors.
    config
        In transformers' words.
    names
        What transformers calls each tensor of the file.
    frequency_factors
        By which the frequencies of rotary positions are divided; None: they are as the configuration says.
    """

    family: Family
    config: dict[str, Any]
    names: dict[str, str]
    frequency_factors: tuple[float, ...] | None


def read_notes(file: GgufFile, token_ids: Mapping[str, Any]) -> ModelNotes:
    """What a file says. ``token_ids`` are those of special tokens, in transformers' words.

    ModelError, which names the file, for an architecture that is not served, sizes that do not fit one another, and tensors
    that are missing or that the architecture does not have.
    """
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(
            f"GGUF file {str(file.path)!r} holds a model of architecture {shown(name)}, which cannot be served from GGUF. "
            f"Served: {', '.join(FAMILIES)}. Take its safetensors instead."
        )
    family, values = FAMILIES[name], architecture_values(file, name)
    _refuse(file, name, values)
    config = _config(file, family, values)
    names = _names(file, family, config)
    turned = values.get("rope.dimension_count") or config["head_dim"]
    return ModelNotes(family, {**config, **token_ids}, names, factors(file, ROPE_FACTORS, turned // 2))


def factors(file: GgufFile, name: str, count: int) -> tuple[float, ...] | None:
    """The ``count`` numbers of a small tensor; None where there is none. ModelError where frequencies cannot be divided by
    them."""
    tensor = file.tensors.get(name)
    if tensor is None:
        return None
    found = file.rows(name).view("<f4").reshape(-1) if tensor.type == GGMLQuantizationType.F32 else np.empty(0)
    if len(found) != count or not bool(np.isfinite(found).all() and (found > 0).all()):
        raise ModelError(
            f"Tensor {name!r} of GGUF file {str(file.path)!r} has to be {count} numbers above 0, in F32, and is not. {MEND}"
        )
    return tuple(found.tolist())


def _refuse(file: GgufFile, name: str, values: Mapping[str, Any]) -> None:
    for key, harmless in REFUSED.items():
        if key in values and values[key] not in (harmless, None) and key not in KNOWN.get(name, ()):
            raise ModelError(
                f"GGUF file {str(file.path)!r} says {name}.{key} = {shown(values[key])}, which cannot be served from GGUF. "
                f"Take its safetensors instead."
            )


def _config(file: GgufFile, family: Family, values: dict[str, Any]) -> dict[str, Any]:
    def number(key: str) -> Any:
        found = values.get(key)
        if not found:
            raise ModelError(
                f"GGUF file {str(file.path)!r} says no {key} of its model that can be used ({shown(found)}). Check the "
                f"file, or download it again."
            )
        return found

    hidden, layers, heads = number("embedding_length"), number("block_count"), number("attention.head_count")
    head = values.get("attention.key_length") or hidden // heads
    sizes, keys = Sizes(hidden, layers, heads, head), values.get("attention.head_count_kv") or heads
    if heads % keys:
        raise ModelError(
            f"GGUF file {str(file.path)!r} says that {heads} query heads share {keys} key heads, which cannot be. {MEND}"
        )
    if values.get("attention.value_length", head) != head:
        raise ModelError(
            f"GGUF file {str(file.path)!r} has values of another size than keys, which cannot be served from GGUF. Take its "
            f"safetensors instead."
        )
    values = {**values, "rope": _rope(file, family, values, head)}
    return {
        "model_type": family.model_type,
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "head_dim": head,
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "vocab_size": _vocabulary(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_parameters": values["rope"],
        **_biases(file, family),
        **family.values(values, sizes),
    }


def _vocabulary(file: GgufFile) -> int:
    embedding, tokens = file.tensors.get("token_embd.weight"), file.metadata.get("tokenizer.ggml.tokens")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelError(f"GGUF file {str(file.path)!r} has no tensor 'token_embd.weight' of rows. Is it a language model?")
    if isinstance(tokens, list) and len(tokens) != embedding.rows:
        raise ModelError(
            f"Tensor 'token_embd.weight' of GGUF file {str(file.path)!r} has {embedding.rows} rows, but its tokenizer has "
            f"{len(tokens)} tokens. Convert the model again."
        )
    return embedding.rows


def _biases(file: GgufFile, family: Family) -> dict[str, Any]:
    """Whether there are biases, where a family may have them or not: as transformers' Llama is told."""
    found = {match[2] for match in map(LAYER.match, file.tensors) if match and match[3] == "bias"}
    told = {"attention_bias": "attn_", "mlp_bias": "ffn_"}
    may = {key: any(name.startswith(begin) for name in family.biases) for key, begin in told.items()}
    if not all(may.values()):
        return {}
    return {key: any(name.startswith(begin) for name in found) for key, begin in told.items()}


def _rope(file: GgufFile, family: Family, values: Mapping[str, Any], head: int) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": values.get("rope.freq_base", 10000.0)}
    factor, original = values.get("rope.scaling.factor"), values.get("rope.scaling.original_context_length")
    factor = factor or values.get("rope.scale_linear")
    kind = values.get("rope.scaling.type") or ("linear" if factor else "none")
    turned = values.get("rope.dimension_count") or head
    if turned != head:
        if family.model_type != "phi3":
            raise ModelError(
                f"GGUF file {str(file.path)!r} rotates {turned} of {head} numbers of a head, which cannot be served from "
                f"GGUF for this architecture. Take its safetensors instead."
            )
        rope["partial_rotary_factor"] = turned / head
    long, short = factors(file, LONG, turned // 2), factors(file, SHORT, turned // 2)
    if (long is None) != (short is None) or (long is not None and not original):
        raise ModelError(
            f"GGUF file {str(file.path)!r} has to have tensors {LONG!r} and {SHORT!r} and say "
            f"rope.scaling.original_context_length, or none of them. {MEND}"
        )
    if long is not None and short is not None:
        scaled = {"long_factor": list(long), "short_factor": list(short), "original_max_position_embeddings": original}
        return rope | scaled | {"rope_type": "longrope"}
    if kind == "linear" and factor:
        return rope | {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and factor and original:
        more = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow", "attention_factor": "yarn_attn_factor"}
        given = {ours: values[f"rope.scaling.{key}"] for ours, key in more.items() if f"rope.scaling.{key}" in values}
        return rope | {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **given}
    if kind != "none":
        raise ModelError(
            f"GGUF file {str(file.path)!r} scales its positions by {shown(kind)}, which cannot be served from GGUF. Take "
            f"its safetensors instead."
        )
    return rope


def _names(file: GgufFile, family: Family, config: Mapping[str, Any]) -> dict[str, str]:
    """What each tensor is called in transformers; all that are wanted have to be there, and no others."""
    heads, keys, head = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    sizes = {
        HIDDEN: config["hidden_size"],
        INNER: config["intermediate_size"],
        BOTH: 2 * config["intermediate_size"],
        HEAD: head,
        QUERY: heads * head,
        KEYS: keys * head,
        ALL_HEADS: (heads + 2 * keys) * head,
        "vocabulary": config["vocab_size"],
    }
    names: dict[str, str] = {}
    wanted = {name: WHOLE[name] for name in WHOLE if name != "output" or not config["tie_word_embeddings"]}
    for part, (module, shape) in wanted.items():
        _expect(file, f"{part}.weight", tuple(sizes[size] for size in shape))
        names[f"{part}.weight"] = f"{module}.weight"
    for layer in range(config["num_hidden_layers"]):
        for part, (module, shape) in family.parts.items():
            for kind in ("weight", "bias"):
                name, expected = f"blk.{layer}.{part}.{kind}", tuple(sizes[size] for size in shape)
                if kind == "weight" or (part in family.biases and name in file.tensors):
                    _expect(file, name, expected if kind == "weight" else expected[:1])
                    names[name] = f"model.layers.{layer}.{module}.{kind}"
    unknown = sorted(file.tensors.keys() - names.keys() - {ROPE_FACTORS, LONG, SHORT})
    if unknown:
        raise ModelError(
            f"GGUF file {str(file.path)!r} holds {len(unknown)} tensors that its architecture is not known to have, "
            f"{unknown[0]!r} among them: it cannot be served from GGUF. Take its safetensors instead."
        )
    return names


def _expect(file: GgufFile, name: str, shape: tuple[int, ...]) -> None:
    found = file.tensors.get(name)
    if found is None:
        raise ModelError(f"GGUF file {str(file.path)!r} has no tensor {name!r}. Check the file, or download it again.")
    if found.shape != shape:
        raise ModelError(
            f"Tensor {name!r} of GGUF file {str(file.path)!r} has the shape {list(found.shape)}; by the file's metadata it "
            f"is {list(shape)}. Check the file, or download it again."
        )
